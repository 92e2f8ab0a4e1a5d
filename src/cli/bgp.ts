/** `tandem bgp …`: what kube-router's BGP daemon on this node knows, and what this agent announces there. */
import type { Command } from "commander";
import type { BgpPathDto, BgpPeerDto, BgpServiceDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { listCommand } from "./lists.ts";
import { type CellInput, table } from "./table.ts";

export function registerBgp(context: CliContext, program: Command): void {
  const bgp = program.command("bgp").description("what kube-router's BGP daemon on this node knows");
  bgp.addHelpText(
    "after",
    `
The daemon is asked at the addresses of the setting gobgp; while it is away the last answers are shown, and tandem status says so.

Examples:
  tandem bgp peers
  tandem bgp routes                    best paths to pod CIDRs and service addresses
  tandem bgp routes node-2 --json
  tandem bgp routes all                every best path
  tandem bgp services                  service addresses that this agent announces, and why it does not
`,
  );
  const peers = agentCommand(bgp, "peers", "sessions with other nodes and with the fabric");
  listCommand<BgpPeerDto>(context, peers, "/v1/bgp/peers", (rows) => formatPeers(context, rows));
  const services = agentCommand(
    bgp,
    "services",
    "service addresses that this agent announces (setting advertiseServices), and why or why not",
  );
  listCommand<BgpServiceDto>(context, services, "/v1/bgp/services", (rows) => formatServices(context, rows));
  const routes = agentCommand(
    bgp,
    "routes [node]",
    "best paths to pod CIDRs and service addresses; of one node; or all there are (all)",
  );
  routes.action(async (of: string | undefined, options: CommonOptions) => {
    const query = of === undefined ? "" : `?of=${encodeURIComponent(of)}`;
    const rows = await clientOf(context, routes).get<readonly BgpPathDto[]>(`/v1/bgp/routes${query}`);
    if (options.json === true) printJson(context, rows);
    else context.write(formatPaths(rows));
  });
}

function formatPeers(context: CliContext, rows: readonly BgpPeerDto[]): string {
  const green = painter(context, "green");
  const red = painter(context, "red");
  const state = ({ state: text, adminDown }: BgpPeerDto): CellInput =>
    adminDown ? `${text} (switched off)` : { text, paint: text === "ESTABLISHED" ? green : red };
  return table(
    ["PEER", "NODE", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "ADVERTISED", "HOLD", "GRACEFUL RESTART"],
    rows.map((row) => [
      row.address,
      row.node ?? "-",
      row.asn,
      state(row),
      row.since ?? "-",
      row.received,
      row.accepted,
      row.advertised,
      row.holdSeconds === 0 ? "-" : `${row.holdSeconds} s`,
      row.gracefulRestart ? "yes" : "no",
    ]),
  );
}

function formatServices(context: CliContext, rows: readonly BgpServiceDto[]): string {
  const green = painter(context, "green");
  const yellow = painter(context, "yellow");
  return table(
    ["ADDRESS", "KIND", "OF", "STATE", "WHY", "COMMUNITIES", "LOCAL PREF", "PREPENDS"],
    rows.map(({ address, type, services, state, why, communities, localPref, prepend }) => [
      address,
      type,
      services.join("\n"),
      { text: state, paint: state === "advertised" ? green : yellow },
      why,
      communities.join("\n") || "-",
      localPref ?? "-",
      prepend === 0 ? "-" : prepend,
    ]),
  );
}

function formatPaths(rows: readonly BgpPathDto[]): string {
  return table(
    ["PREFIX", "OF", "NEXT HOP", "FROM", "AS PATH", "LOCAL PREF", "MED", "COMMUNITIES"],
    rows.map((row) => [
      row.prefix,
      row.services.length > 0 ? row.services.join("\n") : (row.node ?? "-"),
      row.nextHop ?? "-",
      `${row.peer ?? "this node"}${row.stale ? " (stale)" : ""}`,
      row.asPath || "-",
      row.localPref ?? "-",
      row.med ?? "-",
      row.communities.join("\n") || "-",
    ]),
  );
}
