import { setTimeout as sleep } from "node:timers/promises";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, answererOf, beginFlow, monitored, pod, podAddress, settled, sharedLab } from "../support/lab.ts";

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

/** What these tests look at of an event. */
interface Event {
  readonly type: string;
  readonly verdict: string;
  readonly reason: string;
  readonly rules: readonly string[];
  readonly source?: { readonly name: string };
}

const fromApp = (...apps: string[]) => apps.map((app) => ({ podSelector: { matchLabels: { app } } }));

/** Who reaches the server on that port, over both families. A source that only one family lets through is a failure. */
async function reach(lab: Lab, sources: readonly string[], port = 8080): Promise<readonly string[]> {
  const addresses = [await podAddress(lab, "default/server", 4), await podAddress(lab, "default/server", 6)];
  const answers = await Promise.all(
    sources.map(async (from) => {
      const [four, six] = await Promise.all(addresses.map((address) => answererOf(lab, from, address, port, 5)));
      if (four !== six) throw new Error(`${from}: IPv4 gives ${four}, IPv6 gives ${six}`);
      return four;
    }),
  );
  return sources.filter((_, i) => answers[i] !== null);
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

const open = sharedLab({ objects: [server, pod("near", { node: "node-1" }), pod("far", { node: "node-2" })] });

open(
  "who may reach a pod: by NetworkPolicy, by Cilium's peers, entities and CIDRs, by denies; its own node always",
  async (t, lab) => {
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
  },
);

open("what a pod may reach: egress to pods, to the outside but a part of it, and to nobody", async (t, lab) => {
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
        async (address) => (await lab.exec("default/server", ["ping", "-c", "1", "-W", "5", address])).code,
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
});

const base = networkPolicy("base", { ingress: [{ from: fromApp("friend") }] });

const closed = sharedLab({
  objects: [
    server,
    pod("friend", { node: "node-2" }),
    pod("near", { node: "node-1", labels: { app: "friend" } }),
    pod("stranger", { node: "node-2" }),
    base,
  ],
});

closed(
  "while policies change, what old and new allow loses nothing, and what both deny never passes",
  async (t, lab) => {
    const address = await podAddress(lab, "default/server");
    const flows = [
      await beginFlow(lab, "default/friend", { kind: "udp", address, port: 9000 }),
      await beginFlow(lab, "default/near", { kind: "udp", address, port: 9000 }),
      await beginFlow(lab, "default/friend", { kind: "tcp", address, port: 8080 }),
    ];
    const strange = await beginFlow(lab, "default/stranger", { kind: "udp", address, port: 9000 });
    for (let round = 0; round < 12; round++) {
      await lab.applyObjects([
        networkPolicy("base", { ingress: [{ from: fromApp("friend", `other-${round}`) }] }),
        networkPolicy("extra", { ingress: [{ from: fromApp("friend"), ports: [{ port: 8000 + round }] }] }),
      ]);
      // Identities come and go beside it.
      await lab.applyObjects([pod("passer-by", { node: "node-2", labels: { round: String(round) }, ports: [] })]);
    }
    // The last of it is in the kernel, and somebody has sent since.
    await lab.agent("node-1", ["policy", "wait"]);
    for (const { sent, answered } of await Promise.all(flows.map((flow) => flow.end()))) t.is(answered, sent);
    t.is((await strange.end()).answered, 0);
    await lab.deleteObjects([networkPolicy("extra", {})]);
    await lab.applyObjects([base]);
    await settled(lab);
  },
);

closed("a rule that goes away ends its running flows too", async (t, lab) => {
  const address = await podAddress(lab, "default/server", 6);
  const flow = await beginFlow(lab, "default/friend", { kind: "udp", address, port: 9000 });
  await lab.until("the flow is known", async () => {
    return (await lab.agent("node-1", ["bpf", "ct", "list", "--json"])).stdout.includes("9000");
  });
  await lab.applyObjects([networkPolicy("base", { ingress: [{ from: fromApp("nobody") }] })]);
  await lab.until("new flows are refused", async () => {
    return (await answererOf(lab, "default/friend", address, 8080, 1)) === null;
  });
  await sleep(2_000);
  const { sent, answered } = await flow.end();
  t.true(answered > 0);
  t.true(answered < sent - 10, `${answered} of ${sent} were answered`);
});

closed("the monitor shows verdicts and drops live, with the names of pods and the rule behind them", async (t, lab) => {
  await lab.applyObjects([networkPolicy("base", { ingress: [{ from: fromApp("friend"), ports: [{ port: 8080 }] }] })]);
  await settled(lab);
  const address = await podAddress(lab, "default/server");
  const isAllowed = (e: Event) => e.source?.name === "default/friend" && e.verdict === "allowed";
  const isDenied = (e: Event) => e.source?.name === "default/stranger" && e.type === "drop";
  const events = await monitored<Event>(
    lab,
    "node-1",
    async () => {
      t.is(await answererOf(lab, "default/friend", address, 8080), "default/server");
      t.is(await answererOf(lab, "default/stranger", address, 8080, 1), null);
    },
    (seen) => seen.some(isAllowed) && seen.some(isDenied),
  );
  const allowed = events.find(isAllowed);
  t.like(allowed, { destination: { name: "default/server", port: 8080 }, protocol: "TCP", direction: "ingress" });
  t.true(
    allowed?.rules.some((rule) => rule.includes("default/base") && rule.includes("ingress[0]")),
    JSON.stringify(allowed),
  );
  const denied = events.find(isDenied);
  t.like(denied, { verdict: "denied", destination: { name: "default/server", port: 8080 } });
  t.regex(denied?.reason ?? "", /policy/);
  const { drops } = await agentStatus(lab, "node-1");
  t.true(drops.some(({ reason, packets }) => /policy/.test(reason) && packets > 0));
});
