/** Nodes of one cluster choose the same backend for a client, whichever of them the fabric brings it to, and tell by which table. */
import test from "ava";
import type { MaglevDto, MaglevTableDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { clientHash, slotOf } from "../support/client-hash.ts";
import { pod, podAddress, settled, withLab } from "../support/lab.ts";

const vips = ["203.0.113.10", "2001:db8:aa::10"] as const;
const udp = 17;
const first = 41_000;
const count = 40;

const backend = (name: string, node: string) =>
  pod(name, { node, labels: { app: "backend" }, ports: [{ containerPort: 9000, protocol: "UDP" }] });

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "backend", namespace: "default", annotations: { "service.cilium.io/lb-algorithm": "maglev" } },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "backend" },
    ports: [{ name: "udp", port: 53, targetPort: 9000, protocol: "UDP" }],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
};

async function asked<T>(lab: Lab, node: string, ...words: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await lab.agent(node, ["bpf", "maglev", ...words, "--json"]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}

/** "frontend, clients, digest" of the addresses outside. */
const digests = async (lab: Lab, node: string): Promise<readonly string[]> =>
  (await asked<readonly MaglevDto[]>(lab, node, "list"))
    .filter(({ clients, frontend }) => clients === "outside" && vips.some((vip) => frontend.includes(vip)))
    .map(({ frontend, slots, digest }) => `${frontend} ${slots} ${digest}`);

/** The fabric leads the addresses to this node alone. */
async function announce(lab: Lab, name: string): Promise<void> {
  const { ipv4, ipv6 } = lab.node(name);
  for (const [family, vip, hop] of [
    ["-4", vips[0], ipv4],
    ["-6", vips[1], ipv6],
  ] as const) {
    const { code, stderr } = await lab.exec("tor", ["ip", family, "route", "replace", vip, "via", hop]);
    if (code !== 0) throw new Error(stderr);
  }
}

async function answerers(lab: Lab, vip: string): Promise<readonly string[]> {
  const script = new URL("../support/ask-from-ports.js", import.meta.url).pathname;
  const words = [process.execPath, script, vip, "53", String(first), String(count)];
  const { code, stdout, stderr } = await lab.exec("external/client", words, { timeoutMs: 120_000 });
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as readonly string[];
}

/** The address from which the client outside reaches this one. */
async function sourceFor(lab: Lab, vip: string): Promise<string> {
  const { stdout } = await lab.exec("external/client", ["ip", "route", "get", vip]);
  return / src (\S+)/.exec(stdout)?.[1] ?? "";
}

test("two nodes have equal tables, and a client's backend is the one that the table says, at either node", (t) =>
  withLab(
    t,
    { nodes: 2, objects: [backend("a", "node-1"), backend("b", "node-2"), backend("c", "node-2"), service] },
    async (lab) => {
      await settled(lab);
      const before = await digests(lab, "node-1");
      t.is(before.length, 2);
      t.deepEqual(await digests(lab, "node-2"), before);

      const names = new Map<string, string>();
      for (const name of ["default/a", "default/b", "default/c"]) {
        for (const family of [4, 6] as const) names.set(await podAddress(lab, name, family), name);
      }
      for (const vip of vips) {
        const frontend = vip.includes(":") ? `[${vip}]:53` : `${vip}:53`;
        const tables = await asked<readonly MaglevTableDto[]>(lab, "node-1", "get", frontend);
        const outside = tables.find(({ clients }) => clients === "outside");
        const address = await sourceFor(lab, vip);
        const wanted = Array.from({ length: count }, (_, at) => {
          const client = { address, port: first + at, service: vip, servicePort: 53, protocol: udp };
          const slot = slotOf(clientHash(client), outside?.slots ?? 0);
          const chosen = outside?.backends[outside.table[slot] ?? -1]?.backend ?? "";
          return names.get(chosen.replace(/^\[?(.*?)\]?:9000$/, "$1")) ?? chosen;
        });
        t.deepEqual(
          [...new Set(wanted)].sort(),
          ["default/a", "default/b", "default/c"],
          "the ports fall to all of them",
        );
        for (const node of ["node-1", "node-2"]) {
          await announce(lab, node);
          t.deepEqual(await answerers(lab, vip), wanted, `${vip} by ${node}`);
        }
      }

      // Other backends are other tables, again the same ones; an agent that comes back has them as they were.
      await lab.applyObjects([backend("d", "node-1")]);
      await settled(lab);
      const after = await digests(lab, "node-2");
      t.notDeepEqual(after, before);
      t.deepEqual(await digests(lab, "node-1"), after);
      await lab.stopAgent("node-1", "SIGKILL");
      await lab.startAgent("node-1");
      await settled(lab);
      t.deepEqual(await digests(lab, "node-1"), after);
      const inside = await asked<readonly MaglevDto[]>(lab, "node-1", "get", "default/backend");
      t.true(
        inside.some(({ clients, slots }) => clients === "inside" && slots > 0),
        "the annotation is for these",
      );
    },
  ));
