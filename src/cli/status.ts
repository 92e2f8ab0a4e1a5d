/** `tandem status`: the whole picture of a node, and by the exit code whether it is well. */
import type { Command } from "commander";
import type { StatusDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { problemLines } from "./problems.ts";
import { type CellInput, table } from "./table.ts";

/** Problems that are printed without -v. */
const shownProblems = 20;

interface StatusOptions extends CommonOptions {
  readonly verbose?: boolean;
}

export function registerStatus(context: CliContext, program: Command): void {
  const command = agentCommand(program, "status", "the whole picture of this node")
    .option("-v, --verbose", "also kernel features, every map, every reconciler and every problem")
    .addHelpText(
      "after",
      `
Exit code: 0 all is well, 1 degraded (a problem is listed, or not ready yet), 2 the agent cannot be reached.

Examples:
  tandem status
  tandem status --json | jq .problems
  tandem --socket /run/tandem/agent.sock status -v
`,
    );
  command.action(async (options: StatusOptions) => {
    const status = await clientOf(context, command).get<StatusDto>("/v1/status");
    if (options.json === true) printJson(context, status);
    else context.write(formatStatus(context, status, options.verbose === true));
    if (!status.ok) context.setExitCode(1);
  });
}

export function formatStatus(context: CliContext, status: StatusDto, verbose: boolean): string {
  const good = painter(context, "green");
  const bad = painter(context, "red");
  const { counts, attach, routes } = status;
  const missing = routes.missing.length === 0 ? "" : `, no route to ${routes.missing.join(", ")}`;
  const lines: readonly (readonly CellInput[])[] = [
    ["Node:", `${status.node} (tandem ${status.version}, kernel ${status.kernel.release})`],
    ["Agent:", { text: agentText(status), paint: status.ok ? good : bad }],
    ["Sources:", status.sources.map(sourceText).join("\n") || "none yet"],
    ["IPAM:", status.addresses.map(poolText).join("\n") || "no pod CIDR yet"],
    ["Attach Mode:", `${attach.mode}, ${attach.endpoints} endpoints, uplinks ${attach.uplinks.join(" ") || "none"}`],
    ["XDP:", attach.xdp.map(xdpText).join("\n") || "no uplink yet"],
    ["Socket LB:", attach.cgroup === null ? "off (services are translated per packet)" : `on ${attach.cgroup}`],
    [
      "Routes:",
      {
        text: `${routes.present}/${routes.expected} pod CIDRs of other nodes${missing}`,
        paint: missing === "" ? null : bad,
      },
    ],
    ["Network:", { text: networkText(status.network), paint: status.network.state === "ready" ? null : bad }],
    ["MTU:", `${status.mtu.bytes} for pods (${status.mtu.from})`],
    ["Policy:", `${counts.policies} policies, ${counts.identities} identities, ${counts.endpoints} endpoints`],
    ["Services:", `${counts.services} frontends, ${counts.backends} backends`],
    ["Proxy:", proxyText(status.proxy)],
    ["L7 Redirect:", redirectText(attach.proxyRedirect)],
    ["Traffic:", traffic(status)],
  ];
  const sections = [
    columns(lines),
    ...dropSection(status),
    ...mapSection(status, verbose),
    ...reconcilerSection(status, verbose),
  ];
  if (verbose) sections.push(...featureSection(status));
  if (status.problems.length > 0) sections.push(problemSection(context, status.problems, verbose));
  return sections.join("\n");
}

function agentText(status: StatusDto): string {
  const memory = `${(status.memory.rssBytes / 1e6).toFixed(0)} MB`;
  if (!status.ready) return `starting since ${status.started}, ${memory}`;
  return `${status.ok ? "Ok" : "Degraded"}, ready in ${status.readyMs ?? 0} ms, since ${status.started}, ${memory}`;
}

function networkText({ state, text, secondsLeft }: StatusDto["network"]): string {
  if (state === "ready") return "ready for pods";
  if (state === "degraded") return `pods were let in without all of it${text === "" ? "" : `: ${text}`}`;
  const until = secondsLeft === null ? "" : ` (${secondsLeft} s more at most)`;
  return `pods are kept away until it is there${until}${text === "" ? "" : `: ${text}`}`;
}

function xdpText({ device, mode, why }: StatusDto["attach"]["xdp"][number]): string {
  return `${device}: ${mode}${why === "" ? "" : ` (${why})`}`;
}

function redirectText({ way, why }: StatusDto["attach"]["proxyRedirect"]): string {
  return `${{ assign: "sk_assign", tproxy: "nft TPROXY", closed: "none" }[way]}${why === "" ? "" : ` (${why})`}`;
}

/** Without -v the first ones, errors before warnings: what is wrong in thousands of objects is usually one mistake. */
function problemSection(context: CliContext, problems: StatusDto["problems"], verbose: boolean): string {
  const shown = verbose ? problems : problems.slice(0, shownProblems);
  const more = problems.length - shown.length;
  const rest = more === 0 ? "" : `  and ${more} more: status -v shows all\n`;
  return `Problems:\n${problemLines(context, shown)}${rest}`;
}

/** "active since …, 12 connections, 3 rule sets". */
function proxyText({ mode, ruleSets, instances }: StatusDto["proxy"]): string {
  const rules = `${ruleSets} sets of L7 rules`;
  if (mode === "off") return `off, ${rules}`;
  if (instances.length === 0) return `none is there, ${rules}`;
  const each = instances.map(({ state, version, pid, stats }) => {
    const lost = stats !== null && stats.recordsLost > 0 ? `, ${stats.recordsLost} records lost` : "";
    return `${state} (tandem ${version}, pid ${pid}), ${stats?.connections ?? 0} connections, ${stats?.requests ?? 0} requests${lost}`;
  });
  return `${each.join("\n")}, ${rules}`;
}

/** An IPv6 prefix has more addresses than anybody counts. */
function poolText({ family, used, size, podCidr }: StatusDto["addresses"][number]): string {
  return `IPv${family}: ${size > 1_000_000 ? used : `${used}/${size}`} allocated from ${podCidr}`;
}

function sourceText(source: StatusDto["sources"][number]): string {
  const state = source.stale ? "stale" : source.synced ? "synced" : "waiting";
  return `${source.name}: ${state}${source.detail === "" ? "" : ` (${source.detail})`}`;
}

function traffic(status: StatusDto): string {
  const drops = status.drops.reduce((sum, { packets }) => sum + packets, 0);
  const forwarded = status.forwarded.map(({ direction, packets }) => `${packets} packets ${direction}`);
  return `forwarded ${forwarded.join(", ") || "nothing yet"}; dropped ${drops}`;
}

function dropSection(status: StatusDto): readonly string[] {
  if (status.drops.length === 0) return [];
  const rows = [...status.drops].sort((a, b) => b.packets - a.packets);
  return [
    `Drops:\n${indent(
      table(
        ["REASON", "DIRECTION", "PACKETS", "BYTES"],
        rows.map((d) => [d.reason, d.direction, d.packets, d.bytes]),
      ),
    )}`,
  ];
}

/** Without -v only maps that are fuller than three quarters. */
function mapSection(status: StatusDto, verbose: boolean): readonly string[] {
  const rows = status.maps.filter(({ entries, max }) => verbose || (entries !== null && entries > 0.75 * max));
  if (rows.length === 0) return [];
  return [
    `Maps:\n${indent(
      table(
        ["MAP", "ENTRIES", "MAX"],
        rows.map((m) => [m.name, m.entries ?? "?", m.max]),
      ),
    )}`,
  ];
}

/** Without -v only those that had a failure. */
function reconcilerSection(status: StatusDto, verbose: boolean): readonly string[] {
  const rows = status.reconcilers.filter(({ failures }) => verbose || failures > 0);
  if (rows.length === 0) return [];
  const cells = rows.map((r) => [r.name, r.writes, r.repaired, r.failures, r.lastError ?? "-"]);
  return [`Reconcilers:\n${indent(table(["NAME", "WRITES", "REPAIRED", "FAILURES", "LAST ERROR"], cells))}`];
}

function featureSection(status: StatusDto): readonly string[] {
  const rows = Object.entries(status.kernel.features);
  if (rows.length === 0) return [];
  const cells = rows.map(([name, { supported, detail }]) => [name, supported ? "yes" : "no", detail]);
  return [`Kernel features:\n${indent(table(["FEATURE", "SUPPORTED", "DETAIL"], cells))}`];
}

/** Two columns without headings. */
function columns(rows: readonly (readonly CellInput[])[]): string {
  const [first = [], ...rest] = rows;
  return table(
    first.map((cell) => (typeof cell === "object" ? cell.text : String(cell))),
    rest,
  );
}

const indent = (text: string) => text.replaceAll(/^(?=.)/gm, "  ");
