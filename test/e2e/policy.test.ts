import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, answererOf, flowFrom, pod, podAddress, withLab } from "../support/lab.ts";

const server = pod("server", { node: "node-1", ports: [8080, 8081, { containerPort: 9000, protocol: "UDP" }] });

function networkPolicy(name: string, spec: object): object {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { podSelector: { matchLabels: { app: "server" } }, ...spec },
  };
}

function ciliumPolicy(name: string, spec: object): object {
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { endpointSelector: { matchLabels: { app: "server" } }, ...spec },
  };
}

const fromApp = (...apps: string[]) => apps.map((app) => ({ podSelector: { matchLabels: { app } } }));

/** Who reaches the server on that port, over both families. A source that only one family lets through is a failure. */
async function reach(lab: Lab, sources: readonly string[], port = 8080): Promise<readonly string[]> {
  const reached: string[] = [];
  for (const from of sources) {
    const answers = await Promise.all(
      ([4, 6] as const).map(async (family) =>
        answererOf(lab, from, await podAddress(lab, "default/server", family), port, 1),
      ),
    );
    if (answers[0] !== answers[1]) throw new Error(`${from}: IPv4 gives ${answers[0]}, IPv6 gives ${answers[1]}`);
    if (answers[0] !== null) reached.push(from);
  }
  return reached;
}

const everybody = ["default/near", "default/far", "node/node-1", "node/node-2", "external/client"];

/** Applies the object and waits until the node of the server has it. */
async function applied(lab: Lab, object: object): Promise<void> {
  const { policies } = (await agentStatus(lab, "node-1")).counts;
  await lab.applyObjects([object]);
  await lab.until("the policy is counted", async () => {
    return (await agentStatus(lab, "node-1")).counts.policies > policies;
  });
  await lab.until("its endpoints are ready", async () => {
    const { stdout } = await lab.agent("node-1", ["endpoint", "list", "--json"]);
    return (JSON.parse(stdout) as readonly { readonly state: string }[]).every(({ state }) => state === "ready");
  });
}

test("who may reach a pod: by NetworkPolicy, by Cilium's peers, entities and CIDRs, by denies; its own node always", (t) =>
  withLab(t, { objects: [server, pod("near", { node: "node-1" }), pod("far", { node: "node-2" })] }, async (lab) => {
    t.deepEqual(await reach(lab, everybody), everybody, "no policy");

    const some = networkPolicy("some", { ingress: [{ from: fromApp("far"), ports: [{ port: 8080 }] }] });
    await applied(lab, some);
    t.deepEqual(await reach(lab, everybody), ["default/far", "node/node-1"]);
    t.deepEqual(await reach(lab, ["default/far"], 8081), [], "another port");

    const outside = ciliumPolicy("outside", {
      ingress: [{ fromCIDR: [lab.plan.externalPrefix4, lab.plan.externalPrefix6] }, { fromEntities: ["remote-node"] }],
    });
    await applied(lab, outside);
    t.deepEqual(await reach(lab, everybody), ["default/far", "node/node-1", "node/node-2", "external/client"]);

    const deny = ciliumPolicy("deny", {
      ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: "far" } }], toPorts: [{ ports: [{ port: "8080" }] }] }],
    });
    await applied(lab, deny);
    t.deepEqual(await reach(lab, everybody), ["node/node-1", "node/node-2", "external/client"], "deny wins");

    await lab.deleteObjects([some, outside, deny]);
    await lab.until("it is open again", async () => (await reach(lab, everybody)).length === everybody.length);
  }));

test("what a pod may reach: egress to pods, to the outside but a part of it, and to nobody", (t) =>
  withLab(t, { objects: [server, pod("near", { node: "node-1" }), pod("far", { node: "node-2" })] }, async (lab) => {
    const targets = async () => {
      const addresses = [
        ...(await Promise.all(
          ["default/near", "default/far"].flatMap((name) => ([4, 6] as const).map((f) => podAddress(lab, name, f))),
        )),
        lab.plan.externals[0]?.ipv4 ?? "",
        lab.plan.externals[0]?.ipv6 ?? "",
      ];
      const names = ["near 4", "near 6", "far 4", "far 6", "outside 4", "outside 6"];
      const open = await Promise.all(
        addresses.map(
          async (address) => (await lab.exec("default/server", ["ping", "-c", "1", "-W", "1", address])).code,
        ),
      );
      return names.filter((_, i) => open[i] === 0);
    };
    t.is((await targets()).length, 6);
    await applied(
      lab,
      networkPolicy("egress", {
        policyTypes: ["Egress"],
        egress: [{ to: fromApp("far") }, { to: [{ ipBlock: { cidr: lab.plan.externalPrefix4 } }] }],
      }),
    );
    t.deepEqual(await targets(), ["far 4", "far 6", "outside 4"]);
    await applied(
      lab,
      ciliumPolicy("more", {
        egress: [
          {
            toCIDRSet: [
              { cidr: lab.plan.externalPrefix6, except: [`${lab.plan.externals[0]?.ipv6}/128`] },
              { cidr: "2001:db8::/32", except: [lab.plan.externalPrefix6] },
            ],
          },
        ],
      }),
    );
    t.deepEqual(await targets(), ["far 4", "far 6", "outside 4"], "the exception holds");
  }));

test("while policies change, what old and new allow loses nothing, and what both deny never passes", (t) =>
  withLab(
    t,
    {
      objects: [
        server,
        pod("friend", { node: "node-2" }),
        pod("near", { node: "node-1", labels: { app: "friend" } }),
        pod("stranger", { node: "node-2" }),
        networkPolicy("base", { ingress: [{ from: fromApp("friend") }] }),
      ],
    },
    async (lab) => {
      const address = await podAddress(lab, "default/server");
      const seconds = 8;
      const flows = [
        flowFrom(lab, "default/friend", { kind: "udp", address, port: 9000, seconds }),
        flowFrom(lab, "default/near", { kind: "udp", address, port: 9000, seconds }),
        flowFrom(lab, "default/friend", { kind: "tcp", address, port: 8080, seconds }),
      ];
      const strange = flowFrom(lab, "default/stranger", { kind: "udp", address, port: 9000, seconds });
      for (let round = 0; round < 12; round++) {
        await lab.applyObjects([
          networkPolicy("base", { ingress: [{ from: fromApp("friend", `other-${round}`) }] }),
          networkPolicy("extra", { ingress: [{ from: fromApp("friend"), ports: [{ port: 8000 + round }] }] }),
        ]);
        // Identities come and go beside it.
        await lab.applyObjects([pod("passer-by", { node: "node-2", labels: { round: String(round) }, ports: [] })]);
      }
      for (const { sent, answered } of await Promise.all(flows)) {
        t.true(sent > 200);
        t.is(answered, sent);
      }
      const { sent, answered } = await strange;
      t.true(sent > 200);
      t.is(answered, 0);
    },
  ));

test("a rule that goes away ends its running flows too", (t) =>
  withLab(
    t,
    {
      objects: [
        server,
        pod("friend", { node: "node-2" }),
        networkPolicy("base", { ingress: [{ from: fromApp("friend") }] }),
      ],
    },
    async (lab) => {
      const address = await podAddress(lab, "default/server", 6);
      const flow = flowFrom(lab, "default/friend", { kind: "udp", address, port: 9000, seconds: 5 });
      await lab.until("the flow is known", async () => {
        return (await lab.agent("node-1", ["bpf", "ct", "list", "--json"])).stdout.includes("9000");
      });
      await lab.applyObjects([networkPolicy("base", { ingress: [{ from: fromApp("nobody") }] })]);
      const { sent, answered } = await flow;
      t.true(answered > 0);
      t.true(answered < sent - 50, `${answered} of ${sent} were answered`);
    },
  ));

test("the monitor shows verdicts and drops live, with the names of pods and the rule behind them", (t) =>
  withLab(
    t,
    {
      objects: [
        server,
        pod("friend", { node: "node-2" }),
        pod("stranger", { node: "node-2" }),
        networkPolicy("base", { ingress: [{ from: fromApp("friend"), ports: [{ port: 8080 }] }] }),
      ],
    },
    async (lab) => {
      const address = await podAddress(lab, "default/server");
      let watched = false;
      const watching = lab.agent("node-1", ["monitor", "--json"], { timeoutMs: 8000 }).finally(() => {
        watched = true;
      });
      // Each connection is a new flow: some begin after the monitor does.
      while (!watched) {
        t.is(await answererOf(lab, "default/friend", address, 8080, 1), "default/server");
        t.is(await answererOf(lab, "default/stranger", address, 8080, 1), null);
      }
      const { stdout } = await watching;
      const events = stdout
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line));
      const allowed = events.find((e) => e.source?.name === "default/friend" && e.verdict === "allowed");
      t.like(allowed, { destination: { name: "default/server", port: 8080 }, protocol: "TCP", direction: "ingress" });
      t.true(
        allowed?.rules.some((rule: string) => rule.includes("default/base") && rule.includes("ingress[0]")),
        JSON.stringify(allowed),
      );
      const denied = events.find((e) => e.source?.name === "default/stranger" && e.type === "drop");
      t.like(denied, { verdict: "denied", destination: { name: "default/server", port: 8080 } });
      t.regex(denied?.reason ?? "", /policy/);
      const { drops } = await agentStatus(lab, "node-1");
      t.true(drops.some(({ reason, packets }) => /policy/.test(reason) && packets > 0));
    },
  ));
