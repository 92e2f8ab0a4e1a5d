/** `tandem proxy …`: who enforces L7 rules on this node, and what became of requests. */
import type { Command } from "commander";
import type { ProxyDto, ProxyInstanceDto, ProxyRulesDto } from "../api/proxy-dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "./context.ts";
import { table } from "./table.ts";

export function registerProxy(context: CliContext, program: Command): void {
  const proxy = program.command("proxy").description("the proxy of this node, that enforces L7 rules");
  const status = agentCommand(proxy, "status", "the proxies that are there, and how they are");
  status.action(async ({ json }: CommonOptions) => {
    const found = await clientOf(context, status).get<ProxyDto>("/v1/proxy");
    if (json === true) return printJson(context, found);
    context.write(statusText(found));
  });
  const rules = agentCommand(proxy, "rules", "L7 rules in force, with what became of requests");
  rules.action(async ({ json }: CommonOptions) => {
    const found = await clientOf(context, rules).get<ProxyRulesDto>("/v1/proxy/rules");
    if (json === true) return printJson(context, found);
    context.write(rulesText(found));
  });
}

function statusText({ mode, generation, ruleSets, instances }: ProxyDto): string {
  const head = `l7Proxy ${mode}, ${ruleSets} sets of rules, generation ${generation}\n`;
  if (instances.length === 0) return `${head}no proxy is there\n`;
  const rows = instances.map(({ state, version, pid, started, generation: has, stats }) => [
    pid,
    state,
    version,
    new Date(started).toISOString(),
    has ?? "none",
    stats?.connections ?? "?",
    stats?.requests ?? "?",
    stats?.refused ?? "?",
    stats === null ? "?" : `${(stats.memory / 1e6).toFixed(1)} MB`,
    stats?.recordsLost ?? "?",
  ]);
  const titles = [
    "PID",
    "STATE",
    "VERSION",
    "STARTED",
    "GENERATION",
    "CONNECTIONS",
    "REQUESTS",
    "REFUSED",
    "MEMORY",
    "LOST",
  ];
  return head + table(titles, rows) + instances.map(limitsLine).join("");
}

/** Of the limits that took effect; nothing where none did. */
function limitsLine({ pid, stats }: ProxyInstanceDto): string {
  const reached = Object.entries(stats?.limits ?? {}).filter(([, times]) => times > 0);
  if (reached.length === 0) return "";
  return `limits that took effect in ${pid}: ${reached.map(([limit, times]) => `${limit} ${times}`).join(", ")}\n`;
}

function rulesText({ rules, denied }: ProxyRulesDto): string {
  const ms = (us: number | null) => (us === null ? "-" : `${(us / 1_000).toFixed(1)} ms`);
  const allowed = table(
    ["RULES", "REQUESTS", "MEAN", "MOST", "USED BY", "TEXT"],
    rules.map(({ ruleSet, requests, latencyMean, latencyMax, usedBy, text, refused }) => [
      ruleSet,
      requests,
      ms(latencyMean),
      ms(latencyMax),
      usedBy.join("\n"),
      refused === null ? text : `${text}\nnot used: ${refused}`,
    ]),
  );
  if (denied.length === 0) return allowed;
  const refusals = table(
    ["DENIED", "BY", "FROM IDENTITY", "TO IDENTITY", "PROTOCOL"],
    denied.map(({ requests, direction, source, destination, protocol }) => [
      requests,
      direction ?? "the proxy",
      source,
      destination,
      protocol,
    ]),
  );
  return `${allowed}\n${refusals}`;
}
