/**
 * Connected UDP sockets whose backend has left their service. A datagram socket is translated when it is connected and never hears that its peer
 * is gone, so it would send into nothing for as long as it lives (DNS resolvers, statsd and syslog clients do). Such sockets are ended in
 * every network namespace of the node: their owners are told at once and connect to a backend that is there.
 *
 * `sock_reverse` says which sockets were translated, and to whom; a socket that was connected to a pod's own address is nobody's here. It is asked
 * about sockets that there are: most of its entries are of closed ones, a hundred thousand where resolvers connect for each question. What
 * left while the agent was away is found at the first look. TCP needs none of it: its ends notice.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import { messageOf } from "../lib/errors.ts";
import { toMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { isNativeFailure } from "../native/errors.ts";
import { sockReverse, sockReverseKey } from "../native/layouts.gen.ts";
import { Counters } from "./map-table.ts";
import { type FrontendChanges, rowChanges } from "./row-changes.ts";

const udp = 17;
/** Namespaces that are looked through at once: each takes a thread. */
const atOnce = 4;

export type SocketNative = Pick<NativeBinding, "mapLookup" | "connectedDatagramSockets" | "destroyDatagramSockets">;

/** "<hex of 16 bytes> <port>" */
type Place = string;

export class StaleSockets {
  readonly counters = new Counters();
  readonly #native: SocketNative;
  readonly #map: MapInfo;
  readonly #changes: FrontendChanges;
  /** null: nobody has looked yet. */
  #last: readonly DesiredFrontend[] | null = null;
  /** Of UDP, by place. */
  readonly #frontends = new Map<Place, DesiredFrontend>();

  constructor(native: SocketNative, map: MapInfo, changes: FrontendChanges = rowChanges) {
    this.#native = native;
    this.#map = map;
    this.#changes = changes;
  }

  /**
   * After services lead to these backends only. What cannot be ended is counted and let be. Costs what changed, until a backend has left.
   * @param frontends each place once
   * @param namespaces of pods of this node, beside its own
   */
  async apply(frontends: readonly DesiredFrontend[], namespaces: ReadonlySet<string>): Promise<void> {
    const isFirst = this.#last === null;
    const { gone, come } = this.#changes(this.#last ?? [], frontends);
    this.#last = frontends;
    const before = new Map(gone.filter(isUdp).map((each) => [frontendPlace(each), each]));
    for (const place of before.keys()) this.#frontends.delete(place);
    for (const each of come.filter(isUdp)) this.#frontends.set(frontendPlace(each), each);
    const lost = new Set<Place>();
    for (const [place, each] of before) {
      const now = backendPlaces(this.#frontends.get(place));
      for (const backend of backendPlaces(each)) if (!now.has(backend)) lost.add(backend);
    }
    if (!isFirst && lost.size === 0) return;
    const asked = new Map<Place, ReadonlySet<Place>>();
    /** Its service leads to that backend no more. */
    const isStale = (service: Place, backend: Place): boolean => {
      if (!isFirst && !this.#frontends.has(service) && !before.has(service)) return false;
      const allowed = asked.get(service) ?? backendPlaces(this.#frontends.get(service));
      asked.set(service, allowed);
      return !allowed.has(backend);
    };
    const queue = [null, ...namespaces];
    const work = async () => {
      for (let netns = queue.shift(); netns !== undefined; netns = queue.shift()) {
        await this.#look(netns, isFirst ? null : lost, isStale);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
  }

  /** @param places of peers that may be stale; null: any */
  async #look(
    netns: string | null,
    places: ReadonlySet<Place> | null,
    isStale: (service: Place, backend: Place) => boolean,
  ): Promise<void> {
    try {
      const keys = await this.#native.connectedDatagramSockets(netns);
      const targets = [];
      for (let at = 0; at < keys.length; at += sockReverseKey.size) {
        const key = keys.subarray(at, at + sockReverseKey.size);
        const { cookie, backend, port } = sockReverseKey.decode(key);
        const peer = placeOf(backend, port);
        if (places !== null && !places.has(peer)) continue;
        const value = this.#native.mapLookup(this.#map.handle, key);
        if (value === null) continue;
        const service = sockReverse.decode(value);
        if (isStale(placeOf(service.address, service.port), peer))
          targets.push({ cookie, address: Buffer.from(backend), port });
      }
      if (targets.length === 0) return;
      const ended = await this.#native.destroyDatagramSockets(netns, targets);
      this.counters.writes += ended;
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
