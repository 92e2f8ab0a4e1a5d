/** Policies about names of DNS (toFQDNs): a pod reaches what the name gives, and nothing else. */
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";
import { cachedAddresses, knownNames, nameServer, outsideNames } from "../support/names.ts";

const client = pod("client", { node: "node-1", labels: { app: "client" } });

const policy = (egress: readonly object[]) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "names", namespace: "default" },
  spec: { endpointSelector: { matchLabels: { app: "client" } }, egress },
});

const byName = policy([
  { toFQDNs: [{ matchName: "api.test" }], toPorts: [{ ports: [{ port: "80", protocol: "TCP" }] }] },
]);

const agent = { dnsServers: [nameServer], dnsMinTtl: 1 };

/** A number of seconds after which what is closed has shown it. */
const reaches = async (lab: Lab, address: string, seconds = 2) =>
  (await fetchFrom(lab, "default/client", address, 80, seconds)) !== null;
const opens = (lab: Lab, address: string) => lab.until(`${address} is open`, () => reaches(lab, address, 20), 120_000);
const closes = (lab: Lab, address: string) =>
  lab.until(`${address} is closed`, async () => !(await reaches(lab, address)), 120_000);

test("a pod reaches what the name gives, over an alias and in both families, and follows when it gives another", (t) =>
  // Longer than the pauses between two questions: an address does not go and come back while it is looked at.
  withLab(t, { nodes: 1, objects: [client, byName], agent: { ...agent, dnsMinTtl: 12 } }, async (lab) => {
    const { ipv4, ipv6, publish } = await outsideNames(t, lab);
    const [first = "", second = "", third = ""] = ipv4;
    const [first6 = "", second6 = ""] = ipv6;
    await publish({ "api.test": { CNAME: "edge.test" }, "edge.test": { A: [first], AAAA: [first6] } });
    await opens(lab, first);
    await opens(lab, first6);
    for (const other of [second, third, second6]) t.false(await reaches(lab, other), other);
    t.deepEqual(await cachedAddresses(lab, "api.test"), [first, first6]);
    t.deepEqual(await cachedAddresses(lab, "edge.test"), [], "only the name that was asked for counts");
    const [known] = await knownNames(lab);
    t.deepEqual([known?.text, known?.resolved, known?.addresses, known?.error], ["api.test", true, 2, null]);

    await publish({ "api.test": { A: [second] } });
    await opens(lab, second);
    await closes(lab, first);
    await closes(lab, first6);

    await publish({ "api.test": { SERVFAIL: true } });
    await lab.until("the failure is told", async () => (await knownNames(lab))[0]?.error != null);
    const { stdout } = await lab.agent("node-1", ["status", "--json"]);
    t.regex(stdout, /NAME_UNANSWERED/);
  }));

test("names never open pods, nodes or the host, whatever they give", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      objects: [
        client,
        pod("victim", { node: "node-2", ports: [80] }),
        pod("near", { node: "node-1", ports: [80] }),
        byName,
      ],
      agent,
    },
    async (lab) => {
      const { ipv4, publish } = await outsideNames(t, lab);
      const inside = [
        await podAddress(lab, "default/victim"),
        await podAddress(lab, "default/near"),
        ...lab.plan.nodes.map(({ ipv4: address }) => address),
      ];
      const [outside = ""] = ipv4;
      await publish({ "api.test": { A: [...inside, "127.0.0.1", "0.0.0.0", outside] } });
      await opens(lab, outside);
      // The name may just be asked for anew.
      const all = [...inside, outside].sort().join(" ");
      await lab.until(
        "all of them are known",
        async () => [...(await cachedAddresses(lab, "api.test"))].sort().join(" ") === all,
      );
      for (const address of inside) t.false(await reaches(lab, address), address);
    },
  ));

test("a connection keeps its address after its time, until it ends; another one is not begun anew once it has", (t) =>
  withLab(t, { nodes: 1, objects: [client, byName], agent }, async (lab) => {
    const { ipv4, publish } = await outsideNames(t, lab);
    const [first = "", second = ""] = ipv4;
    await publish({ "api.test": { A: [first] } });
    await opens(lab, first);
    const flow = await beginFlow(lab, "default/client", { kind: "tcp", address: first, port: 80 });
    await publish({ "api.test": { A: [second] } });
    const state = async () => {
      const { stdout } = await lab.agent("node-1", ["fqdn", "cache", "list"]);
      return stdout.split("\n").find((line) => line.includes(first)) ?? "";
    };
    await lab.until("its time is over", async () => (await state()).includes("connection"), 120_000);
    t.true(await reaches(lab, second, 20));
    const { sent, answered } = await flow.end();
    t.is(answered, sent, "nothing was lost");
    await lab.until("it is forgotten", async () => (await state()) === "", 120_000);
    await closes(lab, first);
    t.true(await reaches(lab, second, 20));
  }));

test("a restarted agent keeps what names gave although no DNS server answers; fqdn cache clean forgets it", (t) =>
  withLab(t, { nodes: 1, objects: [client, byName], agent: { ...agent, dnsMinTtl: 3600 } }, async (lab) => {
    const { ipv4, publish } = await outsideNames(t, lab);
    const [first = "", second = ""] = ipv4;
    await publish({ "api.test": { A: [first] } });
    await opens(lab, first);
    await publish({ "api.test": { SERVFAIL: true } });
    await lab.stopAgent("node-1", "SIGTERM");
    t.true(await reaches(lab, first, 20), "without an agent");
    await lab.startAgent("node-1");
    t.deepEqual(await cachedAddresses(lab, "api.test"), [first]);
    t.true(await reaches(lab, first, 20));
    t.false(await reaches(lab, second));

    const cleaned = await lab.agent("node-1", ["fqdn", "cache", "clean", "--matchpattern", "*.test"]);
    t.is(cleaned.stdout, "forgotten: 1 address\n", cleaned.stderr);
    await closes(lab, first);
    t.deepEqual(await cachedAddresses(lab, "api.test"), []);
  }));

test("a name with hundreds of addresses comes over TCP, and each new one is a write of its own, not a policy of its own", (t) =>
  withLab(t, { nodes: 1, objects: [client, byName], agent }, async (lab) => {
    const { ipv4, publish } = await outsideNames(t, lab);
    const [first = "", second = ""] = ipv4;
    const many = Array.from({ length: 900 }, (_, at) => `203.0.${113 + Math.floor(at / 250)}.${1 + (at % 250)}`);
    await publish({ "api.test": { A: [...many, first], ttl: 600 } });
    await opens(lab, first);
    t.is((await cachedAddresses(lab, "api.test")).length, 901);
    const set = async () => {
      const { stdout } = await lab.agent("node-1", ["endpoint", "list", "--json"]);
      const rows = JSON.parse(stdout) as readonly {
        readonly pod: string;
        readonly policySet: number;
        readonly policyRevision: number;
      }[];
      const row = rows.find((each) => each.pod === "default/client");
      return [row?.policySet, row?.policyRevision];
    };
    const before = await set();
    await publish({ "api.test": { A: [...many, first, second], ttl: 600 } });
    // The answer before holds for 10 minutes: cleaning asks again at once, which takes nothing away that is given again.
    await lab.agent("node-1", ["fqdn", "cache", "clean", "-p", "none.test"]);
    await opens(lab, second);
    t.deepEqual(await set(), before, "the set and its revision are the same");
  }));
