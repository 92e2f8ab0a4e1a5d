/** Resolved rules for people: per direction the default, and the groups in the order in which they decide. */
import type { RuleDirection, RulePeer } from "../../model/policy-reports.ts";
import { type CliContext, painter } from "../context.ts";
import { type CellInput, table } from "../table.ts";

/** Begins with an empty line. */
export function rulesText(context: CliContext, directions: readonly RuleDirection[]): string {
  return directions.map((each) => `\n${directionText(context, each)}`).join("");
}

function directionText(context: CliContext, { direction, default: fallback, closedBy, groups }: RuleDirection): string {
  const closing = fallback === "deny" ? "nobody knows its rules yet" : "no policy closes it";
  const why = closedBy.length === 0 ? closing : `closed by ${closedBy.join(", ")}`;
  const head = `${painter(context, "bold")(direction.toUpperCase())}  default ${fallback} (${why})\n`;
  if (groups.length === 0) return `${head}no rules\n`;
  const paint = {
    deny: painter(context, "red"),
    allow: painter(context, "green"),
    redirect: painter(context, "yellow"),
  };
  const rows = groups.map(({ group, action, ports, peers, l7, origins }): readonly CellInput[] => [
    group,
    { text: action === "redirect" ? "L7" : action, paint: paint[action] },
    l7 === "" ? ports.replaceAll("; ", "\n") : `${ports}\nif ${short(l7.replaceAll("\n", " and "))}`,
    peers.map(peerText).join("\n"),
    origins.join("\n"),
  ]);
  return head + table(["GROUP", "ACTION", "PORTS", "PEERS", "RULES"], rows);
}

function peerText({ text, pods }: RulePeer): string {
  if (pods.length === 0) return text;
  const some = pods.slice(0, 3).join(", ");
  return `${text} (${some}${pods.length > 3 ? ` and ${pods.length - 3} more` : ""})`;
}

function short(text: string): string {
  return text.length > 70 ? `${text.slice(0, 67)}...` : text;
}
