/** What `tandem fqdn` shows: the cache, and the names that policies of this node's pods write. */
import type { FqdnCacheDto, FqdnNameDto } from "../../api/dto.ts";
import type { CompiledSet } from "../../compute/desired.ts";
import type { CachedAddress } from "../../dns/name-cache.ts";
import { isWhole, meansName, type NamePattern } from "../../model/dns-names.ts";
import { compareAddresses } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { ScheduledName } from "./name-schedule.ts";

export interface PatternInUse {
  readonly pattern: NamePattern;
  readonly sets: readonly string[];
}

/** What the sets write about names, each once. */
export function patternsOf(sets: readonly CompiledSet[]): ReadonlyMap<string, PatternInUse> {
  const found = new Map<string, { readonly pattern: NamePattern; readonly sets: string[] }>();
  for (const { key, egress } of sets) {
    for (const { pattern } of egress.names ?? []) {
      const text = `${pattern.text} ${pattern.kind}`;
      const known = found.get(text);
      if (known === undefined) found.set(text, { pattern, sets: [key] });
      else known.sets.push(key);
    }
  }
  return found;
}

export function cacheReport(
  names: ReadonlyMap<string, ReadonlyMap<string, CachedAddress>>,
  now: number,
): readonly FqdnCacheDto[] {
  return [...names]
    .sort(([a], [b]) => compareText(a, b))
    .map(([name, addresses]) => ({
      name,
      addresses: [...addresses.values()]
        .sort((a, b) => compareAddresses(a.address, b.address))
        .map(({ address, until, isKept }) => ({
          address: address.text,
          ttlSeconds: Math.max(0, Math.round((until - now) / 1000)),
          state: isKept ? ("connection" as const) : ("valid" as const),
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
      const known = [...names].filter(([name]) => meansName(pattern, name));
      const asked = isWhole(pattern) ? scheduled.get(pattern.text) : undefined;
      return {
        kind: pattern.kind,
        text: pattern.text,
        policySets: using,
        resolved: asked !== undefined,
        names: known.map(([name]) => name).sort(compareText),
        addresses: new Set(known.flatMap(([, addresses]) => [...addresses.keys()])).size,
        answered: asked?.answeredAt == null ? null : new Date(asked.answeredAt).toISOString(),
        error: asked?.error?.message ?? null,
      };
    });
}
