/**
 * Whether each of very many pods has its own policy from its first packet: strangers knock at all addresses that the nodes give next, from before
 * anybody has them until all pods run, over IPv4 from one node and over IPv6 from another; afterwards clients get in everywhere.
 */
import { type KubeObject, kinds } from "../../src/kube/index.ts";
import { type Address, addressFromBytes, compareAddresses, parseAddress } from "../../src/model/ip.ts";
import { podOn } from "./faults-cluster.ts";
import type { Scene } from "./faults-scene.ts";
import { beginKnocking, type KnockCounts, knockOnce } from "./knock.ts";

const port = 8080;
/** Addresses more than there are pods to come, on each node. */
const spare = 4;
/** Of so many pods one listens: a server takes more memory than all the rest, and who listens to nothing refuses, which tells as much. */
const listening = 20;
const groups = Array.from({ length: 10 }, (_, n) => `many-${n}`);

/** Only clients may reach them. */
const policy = {
  metadata: { namespace: "default", name: "many" },
  spec: {
    podSelector: { matchExpressions: [{ key: "app", operator: "In", values: groups }] },
    policyTypes: ["Ingress"],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
  },
};

export class ManyPods {
  readonly objects: readonly KubeObject[];
  readonly #scene: Scene;

  constructor(scene: Scene, count: number) {
    const { nodes } = scene.lab.plan;
    this.#scene = scene;
    this.objects = Array.from({ length: count }, (_, i) => {
      const options = i % listening === 0 ? { ports: [port] } : { command: ["sleep", "infinity"] };
      return podOn(nodes[i % nodes.length]?.name ?? "none", `many-${i}`, groups[i % groups.length] ?? "none", options);
    });
  }

  putPolicy(): Promise<void> {
    return this.#scene.cluster.put(kinds.networkPolicies, policy);
  }

  /** To be called before they are made. @returns to be called when they run */
  async knock(): Promise<() => Promise<void>> {
    const { lab } = this.#scene;
    const begin = async (from: string, family: 4 | 6) =>
      beginKnocking(lab, from, { addresses: await this.#next(family), port, everyMs: 5 });
    const knocking = await Promise.all([begin("default/stranger-2", 4), begin("default/stranger-1", 6)]);
    return async () => {
      const counts = await Promise.all(knocking.map((each) => each.end()));
      await this.#judge(Object.assign({}, ...counts) as KnockCounts);
    };
  }

  /** The addresses of a family that come next on each node: they are given in their order. */
  async #next(family: 4 | 6): Promise<readonly string[]> {
    const { nodes } = this.#scene.lab.plan;
    const pods = addressesOf(await this.#scene.cluster.client.listAll(kinds.pods));
    const each = Math.ceil(this.objects.length / nodes.length) + spare;
    return nodes.flatMap(({ name, podCidr4, podCidr6 }) => {
      const first = plus(address((family === 4 ? podCidr4 : podCidr6).replace(/\/.*/, "")), 1);
      const given = pods.filter(({ node }) => node === name).flatMap(({ ips }) => ips.map(address));
      const last = [first, ...given.filter((ip) => ip.family === family)].sort(compareAddresses).at(-1) ?? first;
      return Array.from({ length: each }, (_, n) => plus(last, n + 1).text);
    });
  }

  async #judge(knocked: KnockCounts): Promise<void> {
    const { t, lab, cluster } = this.#scene;
    const pods = addressesOf(await cluster.client.listAll(kinds.pods)).filter(({ name }) => name.startsWith("many-"));
    const addresses = pods.flatMap(({ ips }) => ips);
    t.is(addresses.length, 2 * this.objects.length);
    t.deepEqual(
      addresses.filter((ip) => (knocked[ip]?.tried ?? 0) === 0),
      [],
      "strangers knocked at the right doors",
    );
    t.deepEqual(
      Object.entries(knocked).filter(([, { passed }]) => passed > 0),
      [],
      "no stranger got in",
    );
    const tried = Object.values(knocked).reduce((sum, each) => sum + each.tried, 0);
    t.log(`strangers knocked ${tried} times at ${Object.keys(knocked).length} addresses`);

    // It was the policy that kept them out: whoever may gets in.
    const ofFamily = (family: 4 | 6) => addresses.filter((ip) => address(ip).family === family);
    const [four, six] = await Promise.all([
      knockOnce(lab, "default/client-1", port, ofFamily(4)),
      knockOnce(lab, "default/client-2", port, ofFamily(6)),
    ]);
    for (const { name, ips, listens } of pods) {
      for (const ip of ips) {
        const count = four[ip] ?? six[ip];
        t.true((count?.passed ?? 0) > 0, `${name} lets a client in at ${ip}`);
        t.deepEqual(count?.from, listens ? [`default/${name}`] : [], `who answers at ${ip}`);
      }
    }
  }
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

/** The address that comes `n` after it, within its last two bytes. */
function plus({ bytes }: Address, n: number): Address {
  const view = new DataView(Uint8Array.from(bytes).buffer);
  const at = bytes.length - 2;
  view.setUint16(at, view.getUint16(at) + n);
  return addressFromBytes(new Uint8Array(view.buffer));
}

interface PodAddresses {
  readonly name: string;
  readonly node: string;
  readonly ips: readonly string[];
  readonly listens: boolean;
}

function addressesOf(pods: readonly KubeObject[]): readonly PodAddresses[] {
  return pods.map(({ metadata, spec, status }) => {
    const { nodeName = "", containers } = spec as {
      readonly nodeName?: string;
      readonly containers: readonly { readonly command?: unknown }[];
    };
    const { podIPs = [] } = (status ?? {}) as { readonly podIPs?: readonly { readonly ip: string }[] };
    const listens = containers.every(({ command }) => command === undefined);
    return { name: metadata.name, node: nodeName, ips: podIPs.map(({ ip }) => ip), listens };
  });
}
