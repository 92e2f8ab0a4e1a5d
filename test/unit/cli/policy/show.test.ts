import { join } from "node:path";
import test from "ava";
import { casesFolder, shop, tandem } from "./support.ts";

const caseOf = (name: string) => [
  "-f",
  join(casesFolder, name, "cluster.yaml"),
  "-f",
  join(casesFolder, name, "policies.yaml"),
];

test("a pod's rules are shown with default, groups, peers with their pods, ports and origins", async (t) => {
  const { output, exitCode } = await tandem("policy", "show", "-f", shop, "shop/database");
  t.is(exitCode, 0);
  t.regex(output, /^shop\/database: app=database in shop; identity \d+\nselected by NetworkPolicy shop\/database\n/);
  t.regex(output, /INGRESS {2}default deny \(closed by NetworkPolicy shop\/database\)/);
  t.regex(
    output,
    /1 +allow +TCP 5432 +app=api in shop \(shop\/api, shop\/api-2\) +NetworkPolicy shop\/database ingress\[0\]/,
  );
  t.regex(output, /EGRESS {2}default allow \(no policy closes it\)\nno rules/);
});

test("blocks come back with their exceptions", async (t) => {
  const { output } = await tandem("policy", "show", ...caseOf("71-cnp-cidr-set-except"), "shop/cart", "--json");
  const printed = JSON.parse(output) as { directions: { groups: { peers: { text: string }[] }[] }[] };
  const peers = printed.directions.flatMap(({ groups }) =>
    groups.flatMap((group) => group.peers.map(({ text }) => text)),
  );
  t.true(
    peers.some((text) => / except .*, outside of the cluster$/.test(text)),
    peers.join("; "),
  );
});

test("denies come before allows, L7 rules say what they demand", async (t) => {
  const deny = await tandem("policy", "show", ...caseOf("77-cnp-deny-combinations"), "shop/s2", "--json");
  const { directions } = JSON.parse(deny.output) as {
    directions: { groups: { action: string; origins: string[] }[] }[];
  };
  const groups = directions[0]?.groups ?? [];
  t.deepEqual(groups[0], { ...groups[0], action: "deny", origins: ["CiliumNetworkPolicy shop/s2 ingressDeny[0]"] });
  const order = groups.map(({ action }) => ["deny", "allow", "redirect"].indexOf(action));
  t.deepEqual(order, [...order].sort());
  const l7 = await tandem("policy", "show", ...caseOf("84-cnp-http"), "shop/cart");
  t.regex(l7.output, /L7 +TCP 8080 +app=front,tier=web in shop \(shop\/front\)/);
  t.regex(l7.output, /if http \[/);
});

test("a node's own rules are shown with what its guard keeps open, unless agents are told to lock out", async (t) => {
  const show = (...words: readonly string[]) => tandem("policy", "show", ...caseOf("92-ccnp-node-ingress"), ...words);
  const { output } = await show("node/worker-1");
  t.regex(
    output,
    /^node\/worker-1: .*pool=general; identity 1\nselected by CiliumClusterwideNetworkPolicy general-nodes\n/,
  );
  t.regex(output, /INGRESS {2}default deny \(closed by CiliumClusterwideNetworkPolicy general-nodes\)/);
  t.regex(output, /TCP 179 +other nodes +the guard of the node: BGP/);
  t.regex(output, /IPIP +other nodes +the guard of the node: tunnels between nodes\n +UDP 5555\n +IPv6 in IP\n/);
  t.regex(output, /TCP 9100 +app=front,tier=web in bank \(bank\/front\)/);
  t.regex(output, /EGRESS {2}default allow \(no policy closes it\)\nno rules/);
  const locked = await show("node/worker-1", "--allow-lockout");
  t.notRegex(locked.output, /guard/);
  t.regex(locked.output, /TCP 22 +outside/);
  const free = await show("node/cp-1");
  t.regex(free.output, /selected by no policy\n\nINGRESS {2}default allow \(no policy closes it\)\nno rules/);
  t.regex((await show("node/worker-9")).notes, /there is no node worker-9 in the manifests\ndid you mean worker-1\?/);
});

test("a pod that is not there or on the host network is told", async (t) => {
  const unknown = await tandem("policy", "show", "-f", shop, "shop/databse");
  t.is(unknown.exitCode, 1);
  t.regex(unknown.notes, /POD_UNKNOWN: there is no pod shop\/databse in the manifests\ndid you mean shop\/database\?/);
  const host = await tandem("policy", "show", ...caseOf("92-ccnp-node-ingress"), "shop/agent");
  t.regex(host.notes, /shop\/agent is on the host network: it is its node\nshow node\/worker-1/);
  t.is((await tandem("policy", "show", "-f", shop)).exitCode, 2);
});
