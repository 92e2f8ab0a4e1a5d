/** Verdicts in words: which end decides, by which rules. The same parts for people and for JSON. */
import type { OfflineCluster } from "./cluster.ts";
import { type Connection, type EndVerdict, type Path, rulesBehind, type Verdict } from "./connection.ts";

export interface EndExplanation {
  readonly side: "ingress" | "egress";
  /** "shop/cart" */
  readonly subject: string;
  readonly verdict: Verdict;
  /** "no rule of NetworkPolicy shop/db allows it" */
  readonly because: string;
  /** "NetworkPolicy shop/db ingress[0]": those that decide; none where nothing matched. */
  readonly rules: readonly string[];
}

/** What an end says, and why. */
export function explainEnd(cluster: OfflineCluster, end: EndVerdict): EndExplanation {
  const { side, subject, verdict, basis } = end;
  const about = { side, subject: subject.name, verdict };
  switch (basis.kind) {
    case "unpoliced":
      return {
        ...about,
        because: subject.kind === "node" ? "a node, which no policy here selects" : "outside of the cluster: no policy",
        rules: [],
      };
    case "open":
      return { ...about, because: openText(cluster, side), rules: [] };
    case "refused":
      return { ...about, because: `its rules are refused: ${basis.why}`, rules: [] };
    case "default":
      return {
        ...about,
        because: `no rule allows it, and ${side} is closed by ${basis.closedBy.join(", ")}`,
        rules: [],
      };
    case "group": {
      const rules = [...new Set(rulesBehind(cluster, end).deciding.map(({ origin }) => origin))];
      const words = { allow: "allowed", deny: "denied", redirect: "sent to the L7 proxy" } as const;
      return { ...about, because: `${words[verdict]} by ${rules.join(", ")}`, rules };
    }
  }
}

function openText({ settings }: OfflineCluster, side: EndExplanation["side"]): string {
  const never = settings.policyEnforcement === "never";
  return never ? "nothing is enforced: the setting policyEnforcement is never" : `no policy closes ${side}`;
}

/** The path that decides: the first of the worst. */
export function decidingPath({ verdict, paths }: Connection): Path | null {
  return paths.find((path) => path.verdict === verdict) ?? null;
}

/** The ends that decide about a path: both for an allowed one, else the first that does not allow. */
export function decidingEnds({ verdict, egress, ingress }: Path): readonly EndVerdict[] {
  const ends = [egress, ingress].filter((end) => end !== null);
  return verdict === "allow" ? ends : ends.filter((end) => end.verdict === verdict).slice(0, 1);
}

/** Why a connection gets its verdict: one line for each part. */
export function explainConnection(cluster: OfflineCluster, connection: Connection): readonly string[] {
  if (connection.nowhere !== null) return [connection.nowhere];
  const path = decidingPath(connection);
  if (path === null) return [];
  if (path.egress === null) return ["a pod or node to itself: no policy"];
  const ends = decidingEnds(path).filter(({ basis }) => basis.kind !== "unpoliced");
  // Where both ends are open, one word for each is noise.
  const closed = ends.filter(({ basis }) => basis.kind !== "open");
  const told = closed.length > 0 ? closed : ends.slice(0, ends.length === 1 ? 1 : 0);
  const lines = told
    .map((end) => explainEnd(cluster, end))
    .map(({ side, subject, because }) => `${side} of ${subject}: ${because}`);
  if (lines.length === 0) lines.push(ends.length === 0 ? "neither end has policies" : "no policy closes either end");
  if (connection.paths.length < 2) return lines;
  const same = connection.paths.filter(({ verdict }) => verdict === connection.verdict).length;
  return [
    `${same} of ${connection.paths.length} backends of svc/${connection.service?.name}, as ${path.destination.name}:`,
    ...lines,
  ];
}
