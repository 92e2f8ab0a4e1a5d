/** Who announces a service's addresses, and whether clients who come there are served. */
import test from "ava";
import { createComputation } from "../../../src/compute/index.ts";
import { atOnce } from "../../../src/lib/turns.ts";
import { parseAddress, parsePrefix } from "../../../src/model/ip.ts";
import type { TableStore } from "../../../src/model/store.ts";
import type { BgpPathRow } from "../../../src/model/tables.ts";
import { advertisementProblems, advertisementReport, frontendsByAddress } from "../../../src/observe/advertisements.ts";
import { serviceReport } from "../../../src/observe/services.ts";
import { testAllocator } from "../../support/compute-cluster.ts";
import { readManifests } from "../../support/manifest-tables.ts";

const node = (name: string, address: string) =>
  `{apiVersion: v1, kind: Node, metadata: {name: ${name}}, status: {addresses: [{type: InternalIP, address: ${address}}]}}\n---\n`;

const service = (policy: string, more = "") => `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  externalTrafficPolicy: ${policy}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.10}]}}
${more}`;

const slice = (name: string, endpoints: string) => `
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]
endpoints: [${endpoints}]
`;

const endpoint = (address: string, on: string, ready = true) =>
  `{addresses: [${address}], nodeName: ${on}, conditions: {ready: ${ready}}}`;

function path(text: string, nextHop: string, peer: string | null): BgpPathRow {
  const [prefix, hop, from] = [parsePrefix(text), parseAddress(nextHop), peer === null ? null : parseAddress(peer)];
  if (prefix === null || hop === null) throw new Error(text);
  const nothing = {
    asPath: "",
    localPref: null,
    med: null,
    communities: [],
    originatorId: null,
    stale: false,
    others: [],
  };
  return { prefix, nextHop: hop, peer: from, ...nothing };
}

const own = (text: string) => path(text, "192.0.2.1", null);

interface World {
  readonly manifests: string;
  readonly paths: readonly BgpPathRow[];
  readonly bgp?: "waiting" | "synced" | "stale";
  readonly externalClusterIps?: boolean;
}

function look({ manifests, paths, bgp = "synced", externalClusterIps = false }: World) {
  const store: TableStore = readManifests(`${node("n1", "192.0.2.1")}${node("n2", "192.0.2.2")}${manifests}`);
  for (const row of paths) store.upsert("bgpPaths", row.prefix.text, row);
  const identities = testAllocator();
  const computation = createComputation({
    nodeName: "n1",
    identities,
    policyEnforcement: "default",
    externalClusterIps,
  });
  const tables = store.snapshot();
  const { frontends } = computation.compute(tables).desired;
  const row = tables.services.get("shop/web");
  if (row === undefined) throw new Error("there is no service");
  const view = { nodeName: "n1", bgp };
  const listed = serviceReport(frontends, tables, "n1").map(({ frontend, advertisedBy }) => [frontend, advertisedBy]);
  return {
    addresses: advertisementReport("shop/web", row, frontendsByAddress(frontends), tables, view),
    problems: atOnce(advertisementProblems(frontends, tables, view)),
    listed: new Map(listed as [string, string | null][]),
  };
}

test("an address that this node announces and serves: no problem, and the list names the node", (t) => {
  const manifests = service("Local", slice("a", endpoint("10.0.1.2", "n1")));
  const { addresses, problems, listed } = look({ manifests, paths: [own("203.0.113.10/32")] });
  t.deepEqual(addresses, [
    { address: "10.96.0.1", type: "ClusterIP", path: "none", by: null, unserved: [] },
    { address: "203.0.113.10", type: "LoadBalancer", path: "own", by: "n1", unserved: [] },
  ]);
  t.deepEqual(problems, []);
  t.is(listed.get("203.0.113.10:80"), "n1");
  t.is(listed.get("10.96.0.1:80"), null);
});

test("Local, announced here without a ready backend here: every port is told, with the reason", (t) => {
  const manifests = service("Local", slice("a", `${endpoint("10.0.1.2", "n1", false)}, ${endpoint("10.0.2.2", "n2")}`));
  const { addresses, problems } = look({ manifests, paths: [own("203.0.113.10/32")] });
  t.deepEqual(addresses[1]?.unserved, ["80/TCP", "53/UDP"]);
  t.is(problems.length, 1);
  t.like(problems[0], { code: "SERVICE_ADVERTISED_UNSERVED", severity: "warning", object: "Service shop/web" });
  t.regex(
    problems[0]?.message ?? "",
    /^n1 announces 203\.0\.113\.10 .* 80\/TCP, 53\/UDP there: .* no backend on this node is ready$/,
  );
});

test("Local, learned from another node: served there if its own backends are ready, and no problem of this node", (t) => {
  const paths = [path("203.0.113.10/32", "192.0.2.2", "198.51.100.1")];
  const there = look({ manifests: service("Local", slice("a", endpoint("10.0.2.2", "n2"))), paths });
  t.like(there.addresses[1], { path: "learned", by: "n2", unserved: [] });
  const elsewhere = look({ manifests: service("Local", slice("a", endpoint("10.0.1.2", "n1"))), paths });
  t.deepEqual(elsewhere.addresses[1]?.unserved, ["80/TCP", "53/UDP"]);
  t.deepEqual([...there.problems, ...elsewhere.problems], []);
});

test("Local behind a next hop that is no node: who is behind it is not known, so nothing is said", (t) => {
  const paths = [path("203.0.113.10/32", "198.51.100.1", "198.51.100.1")];
  const { addresses } = look({ manifests: service("Local", slice("a", endpoint("10.0.1.2", "n1"))), paths });
  t.like(addresses[1], { path: "learned", by: "198.51.100.1", unserved: [] });
});

test("Cluster: backends anywhere serve it; without any, it is told", (t) => {
  const paths = [own("203.0.113.10/32")];
  const served = look({ manifests: service("Cluster", slice("a", endpoint("10.0.2.2", "n2"))), paths });
  t.deepEqual([served.addresses[1]?.unserved, served.problems], [[], []]);
  const nobody = look({ manifests: service("Cluster", slice("a", endpoint("10.0.2.2", "n2", false))), paths });
  t.regex(nobody.problems[0]?.message ?? "", /no backend is ready$/);
});

test("a cluster address that is announced is told, unless clients outside may use it", (t) => {
  const manifests = service("Cluster", slice("a", endpoint("10.0.2.2", "n2")));
  const closed = look({ manifests, paths: [own("10.96.0.1/32")] });
  t.regex(closed.problems[0]?.message ?? "", /a cluster address is not for clients outside$/);
  t.regex(closed.problems[0]?.remedy ?? "", /externalClusterIps/);
  t.deepEqual(look({ manifests, paths: [own("10.96.0.1/32")], externalClusterIps: true }).problems, []);
});

test("while BGP is not known nothing is told as a problem, and an aggregate announces no address", (t) => {
  const manifests = service("Cluster");
  t.deepEqual(look({ manifests, paths: [own("203.0.113.10/32")], bgp: "stale" }).problems, []);
  t.is(look({ manifests, paths: [], bgp: "waiting" }).addresses[0]?.path, "unknown");
  const { addresses, problems } = look({ manifests, paths: [own("203.0.113.0/24")] });
  t.deepEqual([addresses[1]?.by, problems], [null, []]);
});
