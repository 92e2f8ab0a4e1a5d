import { join } from "node:path";
import test from "ava";
import { casesFolder, folderOf, shop, tandem } from "./support.ts";

const trace = (...words: readonly string[]) => tandem("policy", "trace", "-f", shop, ...words);
const caseOf = (name: string) => [
  "-f",
  join(casesFolder, name, "cluster.yaml"),
  "-f",
  join(casesFolder, name, "policies.yaml"),
];

test("an allowed connection to a service names its backend, both ends and the rule", async (t) => {
  const { output, exitCode } = await trace("--from", "shop/web", "--to", "svc/shop/api", "--port", "80/TCP");
  t.is(exitCode, 0);
  t.regex(output, /^shop\/web -> svc\/shop\/api TCP 80\nservice svc\/shop\/api at [\d.]+: 2 ready backends/);
  t.regex(output, /backend 1 of 2: shop\/api TCP 8080\n/);
  t.regex(output, /egress of shop\/web: ALLOW\n +no policy closes egress/);
  t.regex(
    output,
    /ingress of shop\/api: ALLOW\n +closed by CiliumNetworkPolicy shop\/api\n +groups of rules that name the peer: 1; that hold the port: 0, 1; both: 1\n +=> group 1 \(allow, TCP 8080\)/,
  );
  t.regex(output, /allowed by CiliumNetworkPolicy shop\/api ingress\[0\]\n/);
  t.regex(output, /\nverdict: ALLOW\n$/);
});

test("of a group's rules those are named that hold for this peer", async (t) => {
  const { output } = await trace("--from", "198.18.0.7", "--to", "shop/api", "--port", "8080");
  t.regex(output, /allowed by CiliumNetworkPolicy shop\/api ingress\[1\]\n/);
  t.regex(output, /from +198\.18\.0\.7, outside of the cluster, identity 9/);
});

test("where nothing allows a connection, the rules that come near are told", async (t) => {
  const port = await trace("--from", "shop/api", "--to", "shop/database", "--port", "5433");
  t.regex(port.output, /near: NetworkPolicy shop\/database ingress\[0\] names this peer, but allows TCP 5432/);
  t.notRegex(port.output, /near: the pod's own node/);
  const peer = await trace("--from", "shop/web", "--to", "shop/database", "--port", "5432");
  t.regex(peer.output, /near: NetworkPolicy shop\/database ingress\[0\] allows TCP 5432, but not this peer/);
  t.regex(peer.output, /verdict: DENY\n$/);
  t.is(peer.exitCode, 0);
});

test("--json has the same as data", async (t) => {
  const { output } = await trace("--from", "node/node-1", "--to", "shop/database", "--icmp", "EchoRequest", "--json");
  const printed = JSON.parse(output) as { verdict: string; paths: { ends: Record<string, unknown>[]; flow: object }[] };
  t.is(printed.verdict, "allow");
  t.deepEqual(printed.paths[0]?.flow, { protocol: 1, port: 8 << 8 });
  t.like(printed.paths[0]?.ends[1], { side: "ingress", rules: ["the pod's own node"], basis: "group", enforced: true });
});

test("denies come first, and L7 rules say that a proxy decides", async (t) => {
  const deny = await tandem(
    "policy",
    "trace",
    ...caseOf("75-cnp-ingress-deny"),
    "--from",
    "shop/db",
    "--to",
    "shop/cart",
    "--port",
    "8080",
  );
  t.regex(
    deny.output,
    /=> group 0 \(deny, everything\): CiliumNetworkPolicy shop\/cart ingressDeny\[0\]\n +group \d \(allow, everything\)/,
  );
  t.regex(deny.output, /verdict: DENY\n$/);
  const l7 = await tandem(
    "policy",
    "trace",
    ...caseOf("84-cnp-http"),
    "--from",
    "shop/front",
    "--to",
    "shop/cart",
    "--port",
    "8080",
  );
  t.regex(l7.output, /ingress of shop\/cart: L7 DECIDES/);
  t.regex(l7.output, /verdict: L7 DECIDES \(no proxy enforces L7 rules yet: until then it is dropped\)\n$/);
});

test("a pod to itself, a service without backends and a missing family are told as such", async (t) => {
  const self = await trace("--from", "shop/web", "--to", "shop/web", "--port", "80");
  t.regex(self.output, /a pod or node to itself: never subject to policy\n\nverdict: ALLOW/);
  const empty = await tandem(
    "policy",
    "trace",
    ...caseOf("52-services"),
    "--from",
    "shop/user",
    "--to",
    "svc/shop/empty",
    "--port",
    "80",
  );
  t.regex(empty.output, /svc\/shop\/empty port 80 has no ready backend\n\nverdict: DENY/);
  const family = await tandem(
    "policy",
    "trace",
    ...caseOf("52-services"),
    "--from",
    "shop/user",
    "--to",
    "2001:db8::1",
    "--port",
    "80",
  );
  t.regex(family.output, /no address family in common/);
});

test("wrong ends, ports and types are exit code 2 with a remedy", async (t) => {
  const unknown = await trace("--from", "shop/wep", "--to", "shop/api", "--port", "80");
  t.is(unknown.exitCode, 2);
  t.regex(
    unknown.notes,
    /TRACE_END: --from shop\/wep: there is no pod shop\/wep in the manifests\ndid you mean shop\/web\?/,
  );
  t.is((await trace("--from", "svc/shop/web", "--to", "shop/api", "--port", "80")).exitCode, 2);
  for (const words of [[], ["--port", "0"], ["--port", "80/TPC"], ["--icmp", "256"], ["--port", "80", "--icmp", "8"]]) {
    const { exitCode, notes } = await trace("--from", "shop/web", "--to", "shop/api", ...words);
    t.is(exitCode, 2, words.join(" "));
    t.regex(notes, /TRACE_FLOW/);
  }
});

test("a cluster address of a service is the service, in the address's family", async (t) => {
  const folder = folderOf(t, {
    "dual.yaml": `apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x}
status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {app: b}}
status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: x}
spec: {selector: {app: b}, clusterIPs: [10.96.0.9, "fd00:96::9"], ipFamilies: [IPv4, IPv6], ports: [{port: 80, targetPort: 8080}]}
`,
  });
  const to = (address: string) =>
    tandem("policy", "trace", "-f", folder, "--from", "x/a", "--to", address, "--port", "80");
  t.regex((await to("10.96.0.9")).output, /service svc\/x\/b at 10\.96\.0\.9: [\s\S]*to +x\/b \(10\.0\.0\.2\), pod/);
  t.regex((await to("fd00:96::9")).output, /service svc\/x\/b at fd00:96::9: [\s\S]*to +x\/b \(fd00::2\), pod/);
  t.regex((await to("10.96.0.8")).output, /10\.96\.0\.8, outside of the cluster/);
});

test("who has no policies sees nobody's identity", async (t) => {
  const { output } = await tandem(
    ...["policy", "trace", ...caseOf("92-ccnp-node-ingress")],
    ...["--from", "203.0.113.8", "--to", "node/worker-1", "--port", "22"],
  );
  t.regex(output, /from 203\.0\.113\.8, outside of the cluster, identity 9\n/);
  t.regex(output, /to +node\/worker-1 \([\d.]+\), node\negress of/);
});

test("a node is judged with its guard, and without it where agents are told to lock out", async (t) => {
  const bgp = (...words: readonly string[]) =>
    tandem(
      ...["policy", "trace", ...caseOf("92-ccnp-node-ingress")],
      ...["--from", "203.0.113.8", "--to", "node/worker-1", "--port", "179", ...words],
    );
  const guarded = await bgp();
  t.regex(guarded.output, /=> group \d \(allow, TCP 179\): the guard of the node: BGP\n/);
  t.regex(guarded.output, /verdict: ALLOW\n$/);
  const locked = await bgp("--allow-lockout");
  t.regex(locked.output, /no rule allows it, and ingress is closed by CiliumClusterwideNetworkPolicy general-nodes\n/);
  t.regex(locked.output, /verdict: DENY\n$/);
});

test("a policy that is not in force is told beside the answer, with exit code 1", async (t) => {
  const folder = folderOf(t, {
    "bad.yaml":
      "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: x, namespace: shop}\nspec: {endpointSelector: {}, ingres: []}\n",
  });
  const { exitCode, notes, output } = await trace(
    "-f",
    folder,
    "--from",
    "shop/web",
    "--to",
    "shop/web-2",
    "--port",
    "80",
  );
  t.is(exitCode, 1);
  t.regex(notes, /not in force, so it does not count here:\n.*bad\.yaml:4: error POLICY_UNKNOWN_FIELD/);
  t.regex(output, /verdict: ALLOW/);
});
