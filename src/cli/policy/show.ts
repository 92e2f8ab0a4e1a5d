/** `tandem policy show`: the resolved rules of one pod or node, as the kernel of its node would have them. */
import type { OfflineCluster } from "../../compute/offline/cluster.ts";
import { podKey } from "../../compute/offline/cluster.ts";
import { findEnd } from "../../compute/offline/ends.ts";
import { rulesOfNode, rulesOfPod } from "../../compute/offline/resolved-rules.ts";
import type { ResolvedRules } from "../../model/policy-reports.ts";
import { type CliContext, painter, printJson } from "../context.ts";
import { CliError } from "../errors.ts";
import { noteAssumed, warnOfErrors } from "./findings.ts";
import { type ManifestOptions, readManifests } from "./manifests.ts";
import { rulesText } from "./rules-text.ts";

export interface ShowOptions extends ManifestOptions {
  readonly filename: readonly string[];
  readonly json: boolean;
}

/** @param name "shop/api", "node/worker-1" */
export function show(context: CliContext, name: string, options: ShowOptions): void {
  const { cluster, findings, assumed } = readManifests(options.filename, options);
  const rules = rulesFor(cluster, name);
  warnOfErrors(context, findings);
  if (options.json) return void printJson(context, rules);
  noteAssumed(context, assumed);
  const { subject, about, identity, sharedWith, selectedBy, refused } = rules;
  const sharing = sharedWith === 0 ? "" : `, shared with ${sharedWith} other pod${sharedWith === 1 ? "" : "s"}`;
  context.write(`${painter(context, "bold")(subject)}: ${about}; identity ${identity}${sharing}\n`);
  context.write(`selected by ${selectedBy.join(", ") || "no policy"}\n`);
  if (refused !== null) context.write(`its rules are refused and it is closed: ${refused}\n`);
  context.write(rulesText(context, rules.directions));
}

/** @throws CliError POD_UNKNOWN */
function rulesFor(cluster: OfflineCluster, name: string): ResolvedRules {
  const pod = cluster.livePods.find((each) => podKey(each) === name);
  if (pod !== undefined) return rulesOfPod(cluster, pod);
  const node = name.startsWith("node/") ? cluster.facts.nodes.get(name.slice("node/".length)) : undefined;
  if (node !== undefined) return rulesOfNode(cluster, node);
  const end = findEnd(cluster, name);
  const hostNetwork = cluster.facts.pods.get(name);
  const instead = hostNetwork?.hostNetwork === true ? `on the host network: it is its node` : "not a pod or node";
  throw new CliError({
    code: "POD_UNKNOWN",
    message: end.kind === "unknown" ? end.message : `${name} is ${instead}`,
    remedy:
      end.kind === "unknown"
        ? end.remedy
        : hostNetwork?.hostNetwork === true
          ? `show node/${hostNetwork.node}`
          : "name a pod with an address of its own as NAMESPACE/POD, or node/NAME",
    exitCode: 1,
  });
}
