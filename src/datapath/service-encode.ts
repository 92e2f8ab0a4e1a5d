/** What a frontend is in the kernel: an entry for clients of each kind, the slots of its table, and what chooses among them. */
import type { DesiredFrontend } from "../compute/desired.ts";
import { maglevSlots } from "../compute/services/maglev.ts";
import { addressFromBytes, toMappedBytes } from "../model/ip.ts";
import {
  SERVICE_MAGLEV_SHIFT,
  service,
  service4Key,
  service6Key,
  serviceBackend,
  serviceBackendKey,
  ServiceFlags,
  ServiceScope,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";
import { keyText } from "./map-table.ts";
import type { Restricted } from "./source-ranges.ts";

/** What clients of one kind need, but for the number of the table. */
export interface Encoded {
  readonly family: 4 | 6;
  readonly key: string;
  /** Values of the slots, end to end. */
  readonly table: Buffer;
  readonly count: number;
  readonly flags: number;
  readonly affinitySeconds: number;
  /** Of clients outside those who may use it; null: all. */
  readonly sources: Restricted["sources"] | null;
  /** The table through which a hash of the client chooses; null: it needs none, or chance chooses. */
  readonly maglev: Maglev | null;
}

export interface Maglev {
  readonly slots: number;
  /** Of each backend; null: all the same. */
  readonly weights: Uint16Array | null;
  /** Equal for equal tables. */
  readonly topic: string;
}

export interface Hashed extends Encoded {
  readonly maglev: Maglev;
}

export const hasMaglev = (encoded: Encoded): encoded is Hashed => encoded.maglev !== null;

export const slotBytes = serviceBackend.size;

/**
 * Clients outside reach whichever node the fabric brings them to, so it must not be chance that chooses for them; for those inside it is as
 * the service wants it.
 */
export function encodeFrontend(frontend: DesiredFrontend): readonly Encoded[] {
  const { backends, outside, selection } = frontend;
  const inside = encode(frontend, ServiceScope.inside, backends, selection === "maglev");
  return outside === undefined ? [inside] : [inside, encode(frontend, ServiceScope.outside, outside, true)];
}

function encode(
  { address, port, protocol, external, affinitySeconds, sources, directReturn = false }: DesiredFrontend,
  scope: number,
  backends: DesiredFrontend["backends"],
  hashed: boolean,
): Encoded {
  const place = { port, protocol, scope };
  const key =
    address.family === 4
      ? service4Key.encode({ address: addressNumber(address), ...place })
      : service6Key.encode({ address: address.bytes, ...place });
  const table = Buffer.alloc(backends.length * slotBytes);
  for (const [slot, backend] of backends.entries()) {
    const value = { address: toMappedBytes(backend.address), port: backend.port };
    serviceBackend.encodeInto(table, slot * slotBytes, value);
  }
  return {
    family: address.family,
    key: keyText(key),
    table,
    count: backends.length,
    flags:
      (external ? ServiceFlags.external : 0) |
      (affinitySeconds === null ? 0 : ServiceFlags.affinity) |
      (hashed ? ServiceFlags.hashed : 0) |
      (scope === ServiceScope.outside && sources !== undefined ? ServiceFlags.ranges : 0) |
      (directReturn && scope === ServiceScope.outside ? ServiceFlags.dsr : 0),
    affinitySeconds: affinitySeconds ?? 0,
    sources: scope === ServiceScope.outside ? (sources ?? null) : null,
    maglev: hashed ? maglevOf(backends, table) : null,
  };
}

function maglevOf(backends: DesiredFrontend["backends"], table: Buffer): Maglev | null {
  const slots = maglevSlots(backends.length);
  if (slots === 0) return null;
  const weighted = backends.some(({ weight = 1 }) => weight !== 1);
  const weights = weighted ? Uint16Array.from(backends, ({ weight = 1 }) => weight) : null;
  return { slots, weights, topic: `${keyText(table)}${weights?.join() ?? ""}` };
}

export function restrictedOf(encoded: Iterable<Encoded>): readonly Restricted[] {
  const restricted: Restricted[] = [];
  for (const { family, key, sources } of encoded) if (sources !== null) restricted.push({ family, key, sources });
  return restricted;
}

export function restrictedAs(value: Buffer, { flags }: Encoded): Buffer {
  const before = service.decode(value);
  return service.encode({ ...before, flags: (before.flags & ~ServiceFlags.ranges) | (flags & ServiceFlags.ranges) });
}

/** @param slots of its table in `maglev`, if that is there; 0: hashes are spread over the backends evenly */
export function serviceValue({ count, flags, affinitySeconds }: Encoded, id: number, slots: number): Buffer {
  return service.encode({ id, backends: count, flags: flags | (slots << SERVICE_MAGLEV_SHIFT), affinitySeconds });
}

/** End to end. */
export function slotKeys(id: number, count: number): Buffer {
  const keys = Buffer.allocUnsafe(count * serviceBackendKey.size);
  for (let slot = 0; slot < count; slot++)
    serviceBackendKey.encodeInto(keys, slot * serviceBackendKey.size, { service: id, slot });
  return keys;
}

export function frontendAddress(key: Buffer): string {
  return addressFromBytes(key.subarray(0, key.length === service6Key.size ? 16 : 4)).text;
}

export function frontendText(key: Buffer): string {
  const wide = key.length === service6Key.size;
  const address = frontendAddress(key);
  const { port, protocol } = wide ? service6Key.decode(key) : service4Key.decode(key);
  return `service ${wide ? `[${address}]` : address}:${port}/${protocol}`;
}
