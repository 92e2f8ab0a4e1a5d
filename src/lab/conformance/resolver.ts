/**
 * How a live run makes clients learn what a case says they have resolved: they ask a DNS server of the run's own, outside of the cluster, through the
 * proxy of their node, which tells the agent (`dnsMode: proxy`). A policy of the run's own lets them ask that server, and nothing else.
 */
import { agentPost } from "../agents.ts";
import type { KubeObject } from "../objects.ts";
import { LabError } from "../errors.ts";
import type { LabPlan } from "../plan.ts";
import type { Attempt } from "./attempts.ts";
import type { CaseProbe, ConformanceCase } from "./case.ts";
import type { Prober } from "./prober.ts";
import type { Round } from "./rounds.ts";
import type { Barrier } from "./settled.ts";
import { familyOf, outside, type Who } from "./who.ts";

const port = 53;

export class Resolver {
  readonly #lab: LabPlan;
  readonly #barrier: Barrier;
  readonly #probers: ReadonlyMap<string, Prober>;
  /** Addresses of the outside host that no case knows. */
  readonly #addresses: readonly string[];

  constructor(lab: LabPlan, barrier: Barrier, probers: ReadonlyMap<string, Prober>) {
    this.#lab = lab;
    this.#barrier = barrier;
    this.#probers = probers;
    this.#addresses = lab.externals.filter(({ name }) => name === outside).flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
  }

  /** Names are to be given these addresses, and nothing that was learned before counts in any kernel. */
  async become({ records }: Pick<Round<unknown>, "records">): Promise<void> {
    const server = this.#probers.get(outside);
    if (server === undefined) throw new LabError("LAB_PROBE", outside, "has no prober", "");
    await server.listen([{ place: outside, protocol: "dns", port }]);
    await server.publish(records);
    await Promise.all(this.#lab.nodes.map((node) => agentPost(node, "/v1/fqdn/cache/clean", { pattern: null })));
    await this.#barrier.settle();
  }

  /** What each client asks, once: names are spelled as the case spells them. */
  lookups(probes: readonly CaseProbe[], who: Who): readonly Attempt[] {
    const all = probes.flatMap(({ from, resolved }) => {
      const client = who.end(from);
      if (client === null) return [];
      return resolved.flatMap(({ name, addresses }) =>
        [...new Set(addresses.map(familyOf))].flatMap((family): readonly Attempt[] => {
          const type = family === 4 ? "A" : "AAAA";
          const [source] = client.addresses;
          const destination = this.#addresses.find((each) => source && familyOf(each) === familyOf(source));
          if (source === undefined || destination === undefined) return [];
          const { place } = client;
          const asked = { kind: "dns", name, type } as const;
          return [{ place, protocol: "udp", asked, source, destination, port, servers: [outside], arrivesAt: null }];
        }),
      );
    });
    return [...new Map(all.map((attempt) => [JSON.stringify(attempt), attempt])).values()];
  }

  /** What a case gets beside its own policies. */
  policies({ probes }: ConformanceCase): readonly KubeObject[] {
    const clients = probes.filter(({ from, resolved }) => resolved.length > 0 && !from.startsWith("node/"));
    const namespaces = new Set(clients.map(({ from }) => from.split("/")[0] ?? ""));
    return [...namespaces].map((namespace) => ({
      apiVersion: "cilium.io/v2",
      kind: "CiliumNetworkPolicy",
      metadata: { name: "tandem-lab-lookups", namespace },
      spec: {
        endpointSelector: {},
        enableDefaultDeny: { ingress: false, egress: false },
        egress: [
          {
            toCIDR: this.#addresses.map((address) => `${address}/${familyOf(address) === 4 ? 32 : 128}`),
            toPorts: [{ ports: [{ port: String(port), protocol: "UDP" }], rules: { dns: [{ matchPattern: "*" }] } }],
          },
        ],
      },
    }));
  }
}
