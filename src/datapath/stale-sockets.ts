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
import { Counters, readEntries } from "./map-table.ts";
import { rowChanges } from "./row-changes.ts";

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
  /** null: nobody has looked yet. */
  #last: readonly DesiredFrontend[] | null = null;
  /** Of UDP, by place. */
  readonly #frontends = new Map<Place, DesiredFrontend>();

  constructor(native: SocketNative, map: MapInfo) {
    this.#native = native;
    this.#map = map;
  }

  /**
   * After services lead to these backends only. What cannot be ended is counted and let be. Costs what changed, until a backend has left.
   * @param frontends each place once
   * @param namespaces of pods of this node, beside its own
   */
  async apply(frontends: readonly DesiredFrontend[], namespaces: ReadonlySet<string>): Promise<void> {
    const isFirst = this.#last === null;
    const { gone, come } = rowChanges(this.#last ?? [], frontends);
    this.#last = frontends;
    const before = new Map(gone.filter(isUdp).map((each) => [frontendPlace(each), each]));
    for (const place of before.keys()) this.#frontends.delete(place);
    for (const each of come.filter(isUdp)) this.#frontends.set(frontendPlace(each), each);
    const hasLost = [...before].some(([place, each]) => {
      const now = backendPlaces(this.#frontends.get(place));
      return [...backendPlaces(each)].some((backend) => !now.has(backend));
    });
    if (!isFirst && !hasLost) return;
    const asked = new Map<Place, ReadonlySet<Place>>();
    const allowed = (place: Place) => {
      const known = asked.get(place) ?? backendPlaces(this.#frontends.get(place));
      asked.set(place, known);
      return known;
    };
    const entries = await readEntries(this.#native, this.#map);
    const targets = entries.flatMap(({ key, value }) => {
      const { cookie, backend, port } = sockReverseKey.decode(key);
      const service = sockReverse.decode(value);
      const place = placeOf(service.address, service.port);
      const isKnown = isFirst || this.#frontends.has(place) || before.has(place);
      if (!isKnown || allowed(place).has(placeOf(backend, port))) return [];
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

const isUdp = ({ protocol }: DesiredFrontend) => protocol === udp;

const frontendPlace = ({ address, port }: DesiredFrontend): Place => placeOf(toMappedBytes(address), port);

/** Whom sockets of a service may be connected to. */
function backendPlaces(frontend: DesiredFrontend | undefined): ReadonlySet<Place> {
  const { backends = [], others = [] } = frontend ?? {};
  return new Set([...backends, ...others].map(({ address, port }) => placeOf(toMappedBytes(address), port)));
}

function placeOf(address: Uint8Array, port: number): Place {
  return `${Buffer.from(address).toString("hex")} ${port}`;
}
