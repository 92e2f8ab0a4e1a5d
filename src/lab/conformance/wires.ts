/**
 * What a conformance lab has beyond an ordinary one: a default route to the outside, and one host there that is every outside
 * address that a case names, also one that lies between the nodes' or the pods' own.
 */
import { LabError } from "../errors.ts";
import type { ExternalPlan, LabPlan } from "../plan.ts";
import { inside, ipBatch, mustRun } from "../run.ts";
import { isInside } from "./site.ts";
import { familyOf, outside } from "./who.ts";

export class OutsideHost {
  readonly #lab: LabPlan;
  readonly #host: ExternalPlan;
  readonly #addresses = new Set<string>();

  constructor(lab: LabPlan) {
    const host = lab.externals.find(({ name }) => name === outside);
    if (host === undefined) throw new LabError("LAB_UNKNOWN", `external/${outside}`, `not in lab ${lab.name}`, "");
    this.#lab = lab;
    this.#host = host;
  }

  /** Once, when the lab is up. */
  async connect(): Promise<void> {
    const { nodes, tor } = this.#lab;
    await ipBatch(tor.netns, [`route add default via ${this.#host.ipv4}`, `route add default via ${this.#host.ipv6}`]);
    const script = "echo 1 > /proc/sys/net/ipv6/conf/eth0/proxy_ndp";
    await mustRun(inside(tor, ["sh", "-c", script]));
    for (const { netns } of nodes) {
      await ipBatch(netns, [`route add default via ${tor.ipv4}`, `route add default via ${tor.ipv6}`]);
    }
  }

  /** Makes the host be exactly these addresses. */
  async be(addresses: readonly string[]): Promise<void> {
    const wanted = new Set(addresses);
    const gone = [...this.#addresses].filter((address) => !wanted.has(address));
    const fresh = addresses.filter((address) => !this.#addresses.has(address));
    await this.#change(gone, "del");
    await this.#change(fresh, "add");
    for (const address of gone) this.#addresses.delete(address);
    for (const address of fresh) this.#addresses.add(address);
  }

  async #change(addresses: readonly string[], operation: "add" | "del"): Promise<void> {
    if (addresses.length === 0) return;
    const { nodes, tor } = this.#lab;
    await ipBatch(
      this.#host.netns,
      addresses.map(
        (a) => `addr ${operation} ${host(a)} dev lo${operation === "add" && familyOf(a) === 6 ? " nodad" : ""}`,
      ),
    );
    const onLink = addresses.filter((a) => isInside(linkPrefix(tor, familyOf(a)), a));
    const amongPods = addresses.filter((a) => nodes.some((n) => isInside(n.podCidr4, a) || isInside(n.podCidr6, a)));
    const viaHost = (a: string) => (familyOf(a) === 4 ? this.#host.ipv4 : this.#host.ipv6);
    const viaTor = (a: string) => (familyOf(a) === 4 ? tor.ipv4 : tor.ipv6);
    if (onLink.length > 0 || amongPods.length > 0) {
      await ipBatch(tor.netns, [
        ...[...onLink, ...amongPods].map((a) => `route ${operation} ${host(a)} via ${viaHost(a)}`),
        // Nodes believe it to be on their link, where the router answers for it.
        ...onLink.map((a) => `neigh ${operation} proxy ${a} dev eth0`),
      ]);
    }
    if (amongPods.length === 0) return;
    for (const { netns } of nodes) {
      await ipBatch(
        netns,
        amongPods.map((a) => `route ${operation} ${host(a)} via ${viaTor(a)}`),
      );
    }
  }
}

function host(address: string): string {
  return `${address}/${familyOf(address) === 4 ? 32 : 128}`;
}

/** Of the link between the nodes, where the router is. */
function linkPrefix(router: { readonly ipv4: string; readonly ipv6: string }, family: 4 | 6): string {
  return family === 4 ? `${router.ipv4}/24` : `${router.ipv6}/64`;
}
