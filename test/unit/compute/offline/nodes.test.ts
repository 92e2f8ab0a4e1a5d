/** Connections of nodes, judged offline under policies with nodeSelector: verdict, and why. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { OfflineCluster } from "../../../../src/compute/offline/cluster.ts";
import { connect, rulesBehind } from "../../../../src/compute/offline/connection.ts";
import { findEnd } from "../../../../src/compute/offline/ends.ts";
import { explainConnection } from "../../../../src/compute/offline/explanation.ts";
import { readManifests } from "../../../support/manifest-tables.ts";

const folder = join(import.meta.dirname, "../../../conformance/cases");

function clusterOf(name: string): OfflineCluster {
  const read = (file: string) => readFileSync(join(folder, name, file), "utf8");
  return new OfflineCluster(readManifests(read("cluster.yaml"), read("policies.yaml")).snapshot());
}

function tcp(cluster: OfflineCluster, fromText: string, toText: string, port: number) {
  const from = findEnd(cluster, fromText);
  const to = findEnd(cluster, toText);
  if (from.kind !== "addresses" || to.kind !== "addresses") throw new Error("no such end");
  return connect(cluster, { from, to, flow: { protocol: 6, port }, family: null });
}

const why = (cluster: OfflineCluster, from: string, to: string, port: number) =>
  explainConnection(cluster, tcp(cluster, from, to, port)).join("; ");

test("a node's end names the policy that closes it, and the rule that allows", (t) => {
  const cluster = clusterOf("92-ccnp-node-ingress");
  t.is(
    why(cluster, "203.0.113.8", "node/worker-1", 10_250),
    "ingress of node/worker-1: no rule allows it, and ingress is closed by CiliumClusterwideNetworkPolicy general-nodes",
  );
  t.regex(
    why(cluster, "203.0.113.8", "shop/agent", 22),
    /^ingress of node\/worker-1: allowed by .*general-nodes ingress\[1\]$/,
  );
  t.is(cluster.setOfNode("cp-1"), null);
  t.regex(why(cluster, "203.0.113.8", "node/worker-1", 179), /allowed by the guard of the node: BGP/);
});

test("a node's egress to its own pod is judged before the pod's ingress, and a deny names its rule", (t) => {
  const cluster = clusterOf("93-ccnp-node-egress");
  const connection = tcp(cluster, "node/worker-1", "bank/ledger", 8080);
  t.is(connection.verdict, "deny");
  const [path] = connection.paths;
  t.is(path?.egress?.verdict, "deny");
  if (path?.egress == null) return t.fail();
  t.deepEqual(
    rulesBehind(cluster, path.egress).deciding.map(({ origin }) => origin),
    ["CiliumClusterwideNetworkPolicy workers-out egressDeny[0]"],
  );
  t.is(path.ingress?.basis.kind, "open");
});
