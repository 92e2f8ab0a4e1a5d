/** The addresses of nodes, and where addresses of pods may be. */
import { type Address, prefixContains, type Prefix } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { NodeRow } from "../../model/tables.ts";
import { nodeAddressInUse } from "./address-problems.ts";

export class NodeAddresses {
  /** Of each node. Not the table: it lives for as long as no address moves, and an old table keeps all that changed since. */
  readonly #cidrsOf: ReadonlyMap<string, readonly Prefix[]>;
  readonly #holders = new Map<string, { readonly address: Address; readonly node: string }>();
  readonly #cidrs: readonly Prefix[];
  readonly #families: ReadonlySet<number>;
  readonly problems: readonly Problem[];

  /** @param own the node that is computed for: it comes first */
  constructor(nodes: ReadonlyMap<string, NodeRow>, own: string) {
    this.#cidrsOf = new Map([...nodes].map(([name, { podCidrs }]) => [name, podCidrs]));
    this.#cidrs = [...nodes.values()].flatMap(({ podCidrs }) => podCidrs);
    this.#families = new Set(this.#cidrs.map(({ family }) => family));
    const problems: Problem[] = [];
    const place = ({ name }: NodeRow): number => (name === own ? 0 : 1);
    for (const { name, addresses } of [...nodes.values()].sort(
      (a, b) => place(a) - place(b) || compareText(a.name, b.name),
    )) {
      for (const address of addresses) {
        const holder = this.#holders.get(address.text);
        if (holder === undefined) this.#holders.set(address.text, { address, node: name });
        else if (holder.node !== name) problems.push(nodeAddressInUse(name, address, holder.node));
      }
    }
    this.problems = problems;
  }

  /** Texts of all of them. */
  get texts(): Iterable<string> {
    return this.#holders.keys();
  }

  holderOf(text: string): { readonly address: Address; readonly node: string } | undefined {
    return this.#holders.get(text);
  }

  isInPodCidrsOf(node: string, address: Address): boolean {
    return this.#cidrsOf.get(node)?.some((cidr) => prefixContains(cidr, address)) ?? false;
  }

  /** Not where pods are. Only where pod CIDRs of the family are known at all. */
  isOutside(address: Address): boolean {
    return this.#families.has(address.family) && !this.#cidrs.some((cidr) => prefixContains(cidr, address));
  }
}
