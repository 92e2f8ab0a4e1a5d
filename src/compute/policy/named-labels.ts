/**
 * Keys of labels that selectors of policies name: labels that would be dropped from identities count then, so that a policy can tell
 * pods apart by them. Kept over time, as a count of the policies that name each.
 */
import type { Selector } from "../../model/labels.ts";
import type { ServiceRow } from "../../model/tables.ts";
import type { Policies, PolicyInForce } from "./book.ts";
import { listChanges } from "./policy-changes.ts";
import type { Spec } from "./rules.ts";
import { podsBehind, servicesOf } from "./surroundings.ts";

export class NamedLabels {
  #all: Policies["all"] = [];
  readonly #counts = new Map<string, number>();
  /** With what is named by way of services. */
  #named: ReadonlySet<string> = new Set();

  /** @returns the same set as before, if it holds the same */
  update({ all, withServices }: Policies, services: ReadonlyMap<string, ServiceRow>): ReadonlySet<string> {
    const { removed, added } = listChanges(this.#all, all);
    this.#all = all;
    for (const policy of added)
      for (const key of keysOf(policy)) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    for (const policy of removed) {
      for (const key of keysOf(policy)) {
        const count = (this.#counts.get(key) ?? 0) - 1;
        if (count > 0) this.#counts.set(key, count);
        else this.#counts.delete(key);
      }
    }
    const named = new Set(this.#counts.keys());
    for (const { specs } of withServices) {
      for (const key of specs.flatMap((spec) => keysBehind(spec, services))) named.add(key);
    }
    if (named.size !== this.#named.size || [...named].some((key) => !this.#named.has(key))) this.#named = named;
    return this.#named;
  }
}

/** Each once. */
function keysOf({ specs }: PolicyInForce): ReadonlySet<string> {
  const selectors = specs.flatMap(({ subject, requires, rules }) => [
    subject,
    ...requires.map(({ selector }) => selector),
    ...rules.flatMap(({ peers }) => peers.flatMap((peer) => (peer.kind === "pods" ? [peer.selector] : []))),
  ]);
  return new Set(selectors.flatMap(keysIn));
}

function keysBehind({ rules }: Spec, services: ReadonlyMap<string, ServiceRow>): readonly string[] {
  return rules.flatMap(({ peers }) =>
    peers.flatMap((peer) =>
      peer.kind === "service"
        ? servicesOf(peer, services).flatMap((service) => {
            const behind = podsBehind(service);
            return behind === null ? [] : keysIn(behind);
          })
        : [],
    ),
  );
}

function keysIn({ requirements }: Selector): readonly string[] {
  return requirements.map(({ key }) => key);
}
