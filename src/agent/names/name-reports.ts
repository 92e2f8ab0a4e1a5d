/** What `tandem fqdn` shows: the cache, and the names that policies of this node's pods write. */
import type { FqdnCacheDto, FqdnNameDto } from "../../api/dto.ts";
import type { CompiledSet } from "../../compute/desired.ts";
import type { CachedAddress } from "../../dns/name-cache.ts";
import { isWhole, meansName, type NamePattern } from "../../model/dns-names.ts";
import { compareAddresses } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import { ofNameKey } from "../../model/name-key.ts";
import type { ScheduledName } from "./name-schedule.ts";

export interface PatternInUse {
  readonly pattern: NamePattern;
  readonly sets: readonly string[];
}

/** What the sets write about names, each once. */
export function patternsOf(sets: readonly CompiledSet[]): ReadonlyMap<string, PatternInUse> {
  const found = new Map<string, { readonly pattern: NamePattern; readonly sets: string[] }>();
  for (const { key, egress, named } of sets) {
    const set = named?.set ?? key;
    for (const { pattern } of egress.names ?? []) {
      const text = `${pattern.text} ${pattern.kind}`;
      const known = found.get(text);
      if (known === undefined) found.set(text, { pattern, sets: [set] });
      // Those of pods with the same rules are next to each other.
      else if (known.sets.at(-1) !== set) known.sets.push(set);
    }
  }
  return found;
}

/** @param source of addresses that no connection keeps */
export function cacheReport(
  names: ReadonlyMap<string, ReadonlyMap<string, CachedAddress>>,
  now: number,
  source: "lookup" | "agent",
  podOf: (endpoint: string) => string,
): readonly FqdnCacheDto[] {
  return [...names]
    .map(([key, addresses]) => {
      const { name, endpoint } = ofNameKey(key);
      return { name, pod: endpoint === null ? null : podOf(endpoint), addresses };
    })
    .sort((a, b) => compareText(a.name, b.name) || compareText(a.pod ?? "", b.pod ?? ""))
    .map(({ name, pod, addresses }) => ({
      name,
      pod,
      addresses: [...addresses.values()]
        .sort((a, b) => compareAddresses(a.address, b.address))
        .map(({ address, until, isKept }) => ({
          address: address.text,
          ttlSeconds: Math.max(0, Math.round((until - now) / 1000)),
          source: isKept ? ("connection" as const) : source,
        })),
    }));
}

export function nameReport(
  sets: readonly CompiledSet[],
  names: ReadonlyMap<string, ReadonlyMap<string, CachedAddress>>,
  scheduled: ReadonlyMap<string, ScheduledName>,
): readonly FqdnNameDto[] {
  return [...patternsOf(sets)]
    .sort(([a], [b]) => compareText(a, b))
    .map(([, { pattern, sets: using }]) => {
      const known = [...names].flatMap(([key, of]) => {
        const { name } = ofNameKey(key);
        return meansName(pattern, name) ? [[name, of] as const] : [];
      });
      const asked = isWhole(pattern) ? scheduled.get(pattern.text) : undefined;
      return {
        kind: pattern.kind,
        text: pattern.text,
        policySets: using,
        resolved: asked !== undefined,
        names: [...new Set(known.map(([name]) => name))].sort(compareText),
        addresses: new Set(known.flatMap(([, addresses]) => [...addresses.keys()])).size,
        answered: asked?.answeredAt == null ? null : new Date(asked.answeredAt).toISOString(),
        error: asked?.error?.message ?? null,
      };
    });
}
