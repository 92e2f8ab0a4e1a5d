/** What bpf/lib/maglev.h makes of a client, written a second time so that tests can say which backend it must get. */
import { affinityKey } from "../../src/native/layouts.gen.ts";
import { mapped } from "./programs-maps.ts";

export interface Client {
  readonly address: string;
  /** null: all flows of the client are to stay together. */
  readonly port: number | null;
  readonly service: string;
  readonly servicePort: number;
  /** IANA number. */
  readonly protocol: number;
}

const rotate = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** Murmur3 of 40 bytes, seed 0. */
export function clientHash({ address, port, service, servicePort, protocol }: Client): number {
  const bytes = Buffer.alloc(affinityKey.size + 4);
  const key = { client: mapped(address), service: mapped(service), port: servicePort, protocol, kind: 0 };
  affinityKey.encodeInto(bytes, 0, key);
  // The program's salt is the port as it lies in the packet.
  bytes.writeUInt16BE(port ?? 0, affinityKey.size);
  let hash = 0;
  for (let at = 0; at < bytes.length; at += 4) {
    const word = Math.imul(rotate(Math.imul(bytes.readUInt32LE(at), 0xcc9e2d51), 15), 0x1b873593);
    hash = (Math.imul(rotate(hash ^ word, 13), 5) + 0xe6546b64) | 0;
  }
  hash ^= bytes.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Which of `slots` a hash picks. */
export const slotOf = (hash: number, slots: number): number => Number((BigInt(hash) * BigInt(slots)) >> 32n);
