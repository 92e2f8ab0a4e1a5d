import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { run } from "../../src/lab/run.ts";
import {
  agentStatus,
  answererOf,
  beginFlow,
  fetchFrom,
  flowFrom,
  pod,
  podAddress,
  settled,
  sharedLab,
  withLab,
} from "../support/lab.ts";

const backendPorts = [8080, { containerPort: 9000, protocol: "UDP" }] as const;
const backend = (name: string, node: string) => pod(name, { node, labels: { app: "backend" }, ports: backendPorts });

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "backend", namespace: "default" },
  spec: {
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "backend" },
    ports: [
      { name: "http", port: 80, targetPort: 8080 },
      { name: "udp", port: 53, targetPort: 9000, protocol: "UDP" },
    ],
  },
};

/** Of a service that every node translates by now. */
async function serviceAddresses(lab: Lab): Promise<readonly string[]> {
  await settled(lab);
  const { services } = await lab.status();
  const addresses = services.find(({ name }) => name === "backend")?.addresses ?? [];
  if (addresses.length !== 2) throw new Error(`the service has ${addresses.join(" ") || "no addresses"}`);
  return addresses;
}

/** Everybody who answers `count` connections, sorted; "none" for one that fails. */
async function answerers(lab: Lab, from: string, address: string, count: number): Promise<readonly string[]> {
  const host = address.includes(":") ? `[${address}]` : address;
  const loop = `for i in $(seq ${count}); do curl -sg -m 20 http://${host}:80/ || echo none; done`;
  const { stdout } = await lab.exec(from, ["sh", "-c", loop]);
  const names = stdout
    .trim()
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "");
  return [...new Set(names)].sort();
}

/** In the pod's network namespace but in no cgroup of the node: the socket hook does not see it, packets are translated. */
async function fetchWithoutHook(lab: Lab, podName: string, address: string, seconds = 20): Promise<string | null> {
  const { netns } = await lab.place(podName);
  const host = address.includes(":") ? `[${address}]` : address;
  const { code, stdout } = await run([
    "nsenter",
    `--net=${netnsPath(netns)}`,
    "curl",
    "-sg",
    "-m",
    String(seconds),
    `http://${host}:80/`,
  ]);
  return code === 0 ? stdout.trim() : null;
}

const two = sharedLab({
  nodes: 2,
  objects: [
    backend("a", "node-1"),
    backend("b", "node-2"),
    pod("client", { node: "node-1" }),
    pod("host", { node: "node-2", hostNetwork: true, ports: [8111] }),
    service,
  ],
});

two(
  "a service spreads over its backends of both families, for pods, nodes and pods of the host network",
  async (t, lab) => {
    for (const address of await serviceAddresses(lab)) {
      for (const from of ["default/client", "default/host"]) {
        t.deepEqual(await answerers(lab, from, address, 24), ["default/a", "default/b"], `${from} ${address}`);
      }
    }
  },
);

two(
  "what skips the socket hook is translated per packet, and sees the service's address in replies",
  async (t, lab) => {
    for (const address of await serviceAddresses(lab)) {
      const seen = new Set<string>();
      for (let i = 0; i < 16; i++)
        seen.add((await fetchWithoutHook(lab, "default/client", address))?.split(" ")[0] ?? "none");
      t.deepEqual([...seen].sort(), ["default/a", "default/b"], address);
    }
  },
);

two(
  "UDP without connect: answers come from the service's address, of one backend per socket or more, none lost",
  async (t, lab) => {
    for (const address of await serviceAddresses(lab)) {
      const flow = await flowFrom(lab, "default/client", { kind: "udp", address, port: 53 });
      t.is(flow.answered, flow.sent);
    }
    // recvfrom shows the service, not the backend.
    const [address = ""] = await serviceAddresses(lab);
    const script = `const s = require("dgram").createSocket("udp4"); s.on("message", (_, from) => { console.log(from.address + ":" + from.port); s.close(); }); s.send("x", 53, "${address}"); setTimeout(() => process.exit(1), 30000).unref();`;
    const { stdout } = await lab.exec("default/client", [process.execPath, "-e", script]);
    t.is(stdout.trim(), `${address}:53`);
  },
);

const one = sharedLab({
  nodes: 1,
  objects: [backend("a", "node-1"), pod("client", { ports: [] }), pod("direct", { ports: [] }), service],
});

one("a pod reaches itself through its own service, with the hook and without", async (t, lab) => {
  for (const address of await serviceAddresses(lab)) {
    t.is(await answererOf(lab, "default/a", address, 80), "default/a");
    t.regex((await fetchWithoutHook(lab, "default/a", address)) ?? "none", /^default\/a/);
  }
});

one("getpeername shows the service; a service without backends refuses at once and says so", async (t, lab) => {
  const script =
    'const s = require("net").connect(80, process.argv[1], () => { console.log(s.remoteAddress, s.remotePort); s.end(); });' +
    's.on("error", (e) => { console.log(e.code); process.exit(1); });';
  const dial = (address: string) => lab.exec("default/client", [process.execPath, "-e", script, address]);
  for (const address of await serviceAddresses(lab)) {
    const { stdout } = await dial(address);
    t.is(stdout.trim(), `${address} 80`);
  }
  await lab.deleteObjects([backend("a", "node-1")]);
  await settled(lab);
  t.is((await agentStatus(lab, "node-1")).counts.backends, 0);
  for (const address of await serviceAddresses(lab)) {
    const { code, stdout } = await dial(address);
    t.is(code, 1);
    t.regex(stdout, /^(EPERM|ECONNREFUSED)/, "not a time-out");
    t.is(await fetchWithoutHook(lab, "default/client", address, 2), null);
  }
  await lab.applyObjects([backend("a", "node-1")]);
});

one(
  "a connected UDP socket whose backend leaves is told at once, in pods and on the node, and goes on with another",
  async (t, lab) => {
    const [address = "", address6 = ""] = await serviceAddresses(lab);
    const file = (who: string) => join(lab.plan.folder, `udp-${who.replaceAll(/[^a-z0-9]/g, "-")}`);
    // Says who answers, and what happens to its socket; connects again after an error, as resolvers do.
    const script = `const { appendFileSync } = require("fs"); const [address, port, file] = process.argv.slice(1);
        const tell = (word) => appendFileSync(file, word + "\\n");
        const begin = () => { const s = require("dgram").createSocket(address.includes(":") ? "udp6" : "udp4"); let timer;
          s.on("error", (e) => { tell(e.code); clearInterval(timer); s.close(); begin(); });
          s.on("message", (m) => tell(String(m).split(" ")[0]));
          s.connect(Number(port), address, () => { timer = setInterval(() => s.send("x", () => undefined), 50); }); };
        begin(); setTimeout(() => process.exit(0), 300000);`;
    // "mapped": an IPv6 socket that speaks IPv4.
    const clients = new Map([
      ["default/client", [address, "53"]],
      ["node/node-1", [address, "53"]],
      ["default/client by IPv6", [address6, "53"]],
      ["node/node-1 by IPv6", [address6, "53"]],
      ["default/client mapped", [`::ffff:${address}`, "53"]],
      ["default/direct", [await podAddress(lab, "default/a"), "9000"]],
    ]);
    const told = async (from: string) => (await readFile(file(from), "utf8").catch(() => "")).split("\n");
    for (const [who, [to = "", port = ""]] of clients) {
      const command = [process.execPath, "-e", script, to, port, file(who)];
      void lab.exec(who.split(" ")[0] ?? "", command, { timeoutMs: 300_000 });
    }
    for (const from of clients.keys())
      await lab.until(`${from} is answered`, async () => (await told(from)).includes("default/a"));
    await lab.applyObjects([backend("b", "node-1")]);
    await settled(lab);
    // It lives on and answers, so that nothing but the agent tells its clients.
    const left = pod("a", { labels: { app: "other" }, node: "node-1", ports: backendPorts });
    await lab.applyObjects([left]);
    for (const from of [...clients.keys()].filter((who) => who !== "default/direct")) {
      await lab.until(`${from} goes on with b`, async () => (await told(from)).includes("default/b"));
      t.true((await told(from)).includes("ECONNABORTED"), from);
    }
    t.false((await told("default/direct")).includes("ECONNABORTED"), "who talks to a pod's own address is left alone");
  },
);

const onlyBackends = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "client", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { app: "client" } },
    policyTypes: ["Egress"],
    egress: [{ to: [{ podSelector: { matchLabels: { app: "backend" } } }], ports: [{ port: 8080 }] }],
  },
};

const few = sharedLab({
  nodes: 2,
  objects: [backend("a", "node-1"), pod("client", { node: "node-2" }), service, onlyBackends],
});

few("policy sees the backend, never the service's address", async (t, lab) => {
  for (const address of await serviceAddresses(lab)) {
    t.regex((await fetchFrom(lab, "default/client", address, 80)) ?? "none", /^default\/a/);
    t.regex((await fetchWithoutHook(lab, "default/client", address)) ?? "none", /^default\/a/);
  }
  const [address = ""] = await serviceAddresses(lab);
  const flow = await flowFrom(lab, "default/client", { kind: "udp", address, port: 53 });
  t.is(flow.answered, 0, "UDP is not allowed to the backend");
  t.is(await answererOf(lab, "default/client", await podAddress(lab, "default/a"), 8080), "default/a");
  await lab.deleteObjects([onlyBackends]);
  await settled(lab);
});

few("new connections follow the backends as they come and go; one that is open stays where it is", async (t, lab) => {
  const [address = "", address6 = ""] = await serviceAddresses(lab);
  const flow = await beginFlow(lab, "default/client", { kind: "tcp", address, port: 80 });
  await lab.applyObjects([backend("b", "node-2"), backend("c", "node-1")]);
  await settled(lab);
  t.deepEqual(await answerers(lab, "default/client", address6, 30), ["default/a", "default/b", "default/c"]);
  await lab.deleteObjects([backend("b", "node-2")]);
  await settled(lab);
  t.deepEqual(await answerers(lab, "default/client", address, 20), ["default/a", "default/c"]);
  const { sent, answered, from } = await flow.end();
  t.is(answered, sent);
  t.deepEqual(from, ["default/a"]);
});

test("a client gets backends of its own node or zone where the service, or the slices' hints, say so", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      objects: [
        ...["node-1", "node-2"].map((name) => ({
          apiVersion: "v1",
          kind: "Node",
          metadata: { name, labels: { "topology.kubernetes.io/zone": `zone-of-${name}` } },
        })),
        backend("a", "node-1"),
        backend("b", "node-2"),
        pod("near", { node: "node-1" }),
        pod("far", { node: "node-2" }),
        { ...service, spec: { ...service.spec, internalTrafficPolicy: "Local" } },
      ],
    },
    async (lab) => {
      for (const address of await serviceAddresses(lab)) {
        t.deepEqual(await answerers(lab, "default/near", address, 12), ["default/a"]);
        t.deepEqual(await answerers(lab, "default/far", address, 12), ["default/b"]);
      }
      const [vip = ""] = await serviceAddresses(lab);
      const zonal = vip.replace(/\d+$/, "77");
      const endpoint = async (name: string, zone: string) => ({
        addresses: [await podAddress(lab, `default/${name}`)],
        hints: { forZones: [{ name: zone }] },
      });
      await lab.applyObjects([
        {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "zonal", namespace: "default" },
          spec: { clusterIP: zonal, ports: [{ port: 80, targetPort: 8080 }] },
        },
        {
          apiVersion: "discovery.k8s.io/v1",
          kind: "EndpointSlice",
          metadata: { name: "zonal", namespace: "default", labels: { "kubernetes.io/service-name": "zonal" } },
          addressType: "IPv4",
          // Crosswise, so that it is the hints that count, and not what is near.
          endpoints: [await endpoint("a", "zone-of-node-2"), await endpoint("b", "zone-of-node-1")],
          ports: [{ port: 8080 }],
        },
      ]);
      await settled(lab);
      t.deepEqual(await answerers(lab, "default/near", zonal, 12), ["default/b"]);
      t.deepEqual(await answerers(lab, "default/far", zonal, 12), ["default/a"]);

      await lab.deleteObjects([backend("a", "node-1")]);
      await settled(lab);
      t.deepEqual(await answerers(lab, "default/near", vip, 3), ["none"], "nobody rather than others");
      t.deepEqual(await answerers(lab, "default/far", vip, 3), ["default/b"]);
    },
  ));
