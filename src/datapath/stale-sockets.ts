/**
 * Connected UDP sockets whose backend has left their service. A datagram socket is translated when it is connected and never hears that its peer
 * is gone, so it would send into nothing for as long as it lives (DNS resolvers, statsd and syslog clients do). Such sockets are ended in
 * every network namespace of the node: their owners are told at once and connect to a backend that is there.
 *
 * `sock_reverse` says which sockets were translated, and to whom; a socket that was connected to a pod's own address is nobody's here. What
 * left while the agent was away is found at the first look. TCP needs none of it: its ends notice.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import { messageOf } from "../lib/errors.ts";
import { toMappedBytes } from "../model/ip.ts";
import type { MapInfo, NativeBinding } from "../native/contract.ts";
import { isNativeFailure } from "../native/errors.ts";
import { sockReverse, sockReverseKey } from "../native/layouts.gen.ts";
import { Counters, readEntries, sameRows } from "./map-table.ts";

const udp = 17;
/** Namespaces that are looked through at once: each takes a thread. */
const atOnce = 4;

export type SocketNative = Pick<NativeBinding, "mapDump" | "destroyDatagramSockets">;

/** "<hex of 16 bytes> <port>" */
type Place = string;

export class StaleSockets {
  readonly counters = new Counters();
  readonly #native: SocketNative;
  readonly #map: MapInfo;
  #last: readonly DesiredFrontend[] | null = null;
  /** Service -> backends to which its sockets may be connected. null: nobody has looked yet. */
  #allowed: ReadonlyMap<Place, ReadonlySet<Place>> | null = null;

  constructor(native: SocketNative, map: MapInfo) {
    this.#native = native;
    this.#map = map;
  }

  /**
   * After services lead to these backends only. What cannot be ended is counted and let be.
   * @param namespaces of pods of this node, beside its own
   */
  async apply(frontends: readonly DesiredFrontend[], namespaces: ReadonlySet<string>): Promise<void> {
    if (sameRows(frontends, this.#last)) return;
    this.#last = frontends;
    const before = this.#allowed;
    const allowed = allowedBackends(frontends);
    this.#allowed = allowed;
    if (before !== null && !hasLost(before, allowed)) return;
    const entries = await readEntries(this.#native, this.#map);
    const targets = entries.flatMap(({ key, value }) => {
      const { cookie, backend, port } = sockReverseKey.decode(key);
      const service = sockReverse.decode(value);
      const place = placeOf(service.address, service.port);
      const known = allowed.has(place) || (before?.has(place) ?? true);
      if (!known || allowed.get(place)?.has(placeOf(backend, port)) === true) return [];
      return [{ cookie, address: Buffer.from(backend), port }];
    });
    if (targets.length === 0) return;
    const queue = [null, ...namespaces];
    const work = async () => {
      for (let netns = queue.shift(); netns !== undefined; netns = queue.shift()) await this.#destroy(netns, targets);
    };
    await Promise.all(Array.from({ length: atOnce }, work));
  }

  async #destroy(netns: string | null, targets: Parameters<SocketNative["destroyDatagramSockets"]>[1]): Promise<void> {
    try {
      const destroyed = await this.#native.destroyDatagramSockets(netns, targets);
      this.counters.writes += destroyed;
    } catch (error) {
      // The pod is gone, and its sockets with it.
      if (netns !== null && isNativeFailure(error) && error.code === "ENOENT") return;
      this.counters.failed(new Error(`${netns ?? "the node"}: ${messageOf(error)}`));
    }
  }
}

function allowedBackends(frontends: readonly DesiredFrontend[]): ReadonlyMap<Place, ReadonlySet<Place>> {
  const allowed = new Map<Place, ReadonlySet<Place>>();
  for (const { address, port, protocol, backends, others = [] } of frontends) {
    const place = placeOf(toMappedBytes(address), port);
    // Of two services of one address and port the first has it.
    if (protocol !== udp || allowed.has(place)) continue;
    allowed.set(
      place,
      new Set([...backends, ...others].map((each) => placeOf(toMappedBytes(each.address), each.port))),
    );
  }
  return allowed;
}

function hasLost(
  before: ReadonlyMap<Place, ReadonlySet<Place>>,
  after: ReadonlyMap<Place, ReadonlySet<Place>>,
): boolean {
  for (const [service, backends] of before) {
    const now = after.get(service);
    for (const backend of backends) if (now?.has(backend) !== true) return true;
  }
  return false;
}

function placeOf(address: Uint8Array, port: number): Place {
  return `${Buffer.from(address).toString("hex")} ${port}`;
}
