/** `tandem monitor`: verdicts and drops as they happen, with names. */
import { type Command, Option } from "commander";
import type { EventDto, LostEventsDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter } from "./context.ts";
import type { Paint } from "./table.ts";

interface MonitorOptions extends CommonOptions {
  readonly type?: string[];
  readonly l7?: boolean;
  readonly from?: string;
  readonly to?: string;
}

export function registerMonitor(context: CliContext, program: Command): void {
  const command = agentCommand(program, "monitor", "verdicts and drops, live, until interrupted")
    .addOption(new Option("-t, --type <type...>", "only these").choices(["drop", "verdict", "flow", "l7"]))
    .option("--l7", "only requests that the proxy judged, as --type l7")
    .option("--from <peer>", "only from this NAMESPACE/POD, NAMESPACE or address")
    .option("--to <peer>", "only to this NAMESPACE/POD, NAMESPACE or address")
    .addHelpText(
      "after",
      "\nflow is the first packet of every flow; the agent reports it with the setting traceFlows.\n" +
        "\nExamples:\n  tandem monitor --type drop\n  tandem monitor --from shop/web-0 --to shop\n  tandem monitor --l7\n  tandem monitor --json | jq .reason\n",
    );
  command.action(async (options: MonitorOptions) => {
    const query = new URLSearchParams();
    const types = [...(options.type ?? []), ...(options.l7 === true ? ["l7"] : [])];
    if (types.length > 0) query.set("type", types.join(","));
    if (options.from !== undefined) query.set("from", options.from);
    if (options.to !== undefined) query.set("to", options.to);
    const path = `/v1/events${query.size === 0 ? "" : `?${query}`}`;
    const client = clientOf(context, command);
    try {
      for await (const event of client.lines<EventDto | LostEventsDto>(path, context.signal)) {
        context.write(options.json === true ? `${JSON.stringify(event)}\n` : eventLine(context, event));
      }
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
    if (!context.signal.aborted) context.note(`the agent on ${client.socket} ended the stream\n`);
  });
}

export function eventLine(context: CliContext, event: EventDto | LostEventsDto): string {
  if (event.type === "lost")
    return `${painter(context, "yellow")(`   lost ${event.count} events: this reader was too slow`)}\n`;
  const mark = event.verdict === "denied" ? "xx" : event.verdict === "audit" ? "!!" : "->";
  const paint = painter(context, event.verdict === "denied" ? "red" : event.verdict === "audit" ? "yellow" : "green");
  const who = `${peerText(event.source)} -> ${peerText(event.destination)}`;
  if (event.l7 !== undefined) return l7Line(event, event.l7, paint, who);
  const identities = `identity ${event.source.identity}->${event.destination.identity}`;
  const rules = event.rules.length === 0 ? "" : `, by ${event.rules.join(", ")}`;
  const what = paint(`${mark} ${event.type} ${event.verdict}`);
  return `${event.time} ${what} ${event.direction} ${who} ${event.protocol} ${event.bytes} B, ${identities}: ${event.reason}${rules}\n`;
}

/** "… -> l7 forwarded shop/web-0 (10.0.1.2:40000) -> shop/api-0 (10.0.1.3:80) http/1.1 GET api/v1/items 200, 1.3 ms". */
function l7Line(event: EventDto, l7: NonNullable<EventDto["l7"]>, paint: Paint, who: string): string {
  const took = l7.latency === null ? "" : `, ${(l7.latency / 1_000).toFixed(1)} ms`;
  const why =
    l7.verdict === "forwarded" ? "" : `: ${event.reason}${l7.verdict === "denied" ? ` (${event.direction})` : ""}`;
  const mark = event.verdict === "denied" ? "xx" : "->";
  return `${event.time} ${paint(`${mark} l7 ${l7.verdict}`)} ${who} ${l7.protocol} ${l7.summary}${took}${why}\n`;
}

/** Identities of addresses outside of the cluster, as Cilium numbers them. */
const world: ReadonlySet<number> = new Set([2, 9, 10]);

function peerText({ address, port, identity, name: known }: EventDto["source"]): string {
  const name = known === "" && world.has(identity) ? "world" : known;
  const text = port === 0 ? address : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  return name === "" ? text : `${name} (${text})`;
}
