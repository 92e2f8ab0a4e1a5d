/** Messages of gobgpd's three API versions, written as their .proto files say (GoBGP 2.34, 3.10, 4.8). */
import { any, type Fields, type Handler, message } from "./gobgp-server.ts";

export type Version = "api" | "apipb" | "gobgpapi";
export const serviceName = (version: Version): string =>
  version === "api" ? "api.GoBgpService" : `${version}.GobgpApi`;

const family = (v6: boolean) =>
  message([
    [1, v6 ? 2 : 1],
    [2, 1],
  ]);

/** Any, or the oneof's field. */
function attribute(version: Version, name: string, field: number, value: Uint8Array): Uint8Array {
  return version === "api" ? message([[field, value]]) : any(`${version}.${name}`, value);
}

export interface PathShape {
  readonly prefix: string;
  readonly nextHop: string;
  readonly peer?: string;
  readonly best?: boolean;
  readonly withdrawn?: boolean;
  readonly stale?: boolean;
  readonly filtered?: boolean;
  /** Further attributes: everything that is read, and an unknown one. */
  readonly rich?: boolean;
}

export function pathMessage(version: Version, shape: PathShape): Uint8Array {
  const [address = "", length = "0"] = shape.prefix.split("/");
  const v6 = address.includes(":");
  const bare = message([
    [1, Number(length)],
    [2, address],
  ]);
  const nlri = version === "api" ? message([[1, bare]]) : any(`${version}.IPAddressPrefix`, bare);
  const attributes = [
    attribute(version, "OriginAttribute", 2, message([])),
    v6
      ? attribute(
          version,
          "MpReachNLRIAttribute",
          12,
          message([
            [1, family(true)],
            [2, shape.nextHop],
            [2, "fe80::1"],
            [3, nlri],
          ]),
        )
      : attribute(version, "NextHopAttribute", 4, message([[1, shape.nextHop]])),
  ];
  if (shape.rich === true) attributes.push(...richAttributes(version));
  const fields: Fields = [
    [1, nlri],
    ...attributes.map((each) => [2, each] as const),
    [3, message([[1, 1_790_000_000]])],
    [4, shape.best ?? true],
    [5, shape.withdrawn ?? false],
    [9, family(v6)],
    [12, shape.filtered ?? false],
    [13, shape.stale ?? false],
    [15, shape.peer ?? (version === "api" ? "" : "<nil>")],
  ];
  return message(fields);
}

function richAttributes(version: Version): readonly Uint8Array[] {
  const packed = new Uint8Array([0xe7, 0x87, 0x80, 0xe0, 0x0f, 0x01]); // 64512:999 and 1 as varints
  return [
    attribute(
      version,
      "AsPathAttribute",
      3,
      message([
        [
          1,
          message([
            [1, 2],
            [2, 65_000],
            [2, 64_513],
          ]),
        ],
        [
          1,
          message([
            [1, 1],
            [2, 7],
          ]),
        ],
      ]),
    ),
    attribute(version, "MultiExitDiscAttribute", 5, message([[1, 50]])),
    attribute(version, "LocalPrefAttribute", 6, message([[1, 200]])),
    attribute(version, "CommunitiesAttribute", 9, message([[1, packed]])),
    attribute(
      version,
      "LargeCommunitiesAttribute",
      21,
      message([
        [
          1,
          message([
            [1, 64_512],
            [2, 1],
            [3, 2],
          ]),
        ],
      ]),
    ),
    attribute(version, "OriginatorIdAttribute", 10, message([[1, "192.0.2.9"]])),
    attribute(
      version,
      "ClusterListAttribute",
      11,
      message([
        [1, "1.1.1.1"],
        [1, "2.2.2.2"],
      ]),
    ),
    attribute(
      version,
      "UnknownAttribute",
      1,
      message([
        [1, 0xc0],
        [2, 99],
        [3, new Uint8Array([1])],
      ]),
    ),
    attribute(
      version,
      "AggregatorAttribute",
      8,
      message([
        [1, 65_000],
        [2, "192.0.2.9"],
      ]),
    ),
    attribute(version, "FutureAttribute", 200, message([[1, "what"]])),
  ];
}

export interface PeerShape {
  readonly address: string;
  readonly asn?: number;
  readonly session: number;
}

export function peerMessage(version: Version, { address, asn = 64_512, session }: PeerShape): Uint8Array {
  const up = version === "api" ? 1 : 0;
  return message([
    [
      2,
      message([
        [4, address],
        [5, 0],
      ]),
    ],
    [
      5,
      message([
        [5, address],
        [6, asn],
        [13, session],
        [15, up],
        [20, "192.0.2.2"],
      ]),
    ],
    [
      6,
      message([
        [
          2,
          message([
            [5, 90],
            [6, message([[1, 1_790_000_000]])],
            [7, message([[1, -62_135_596_800]])],
          ]),
        ],
      ]),
    ],
    [
      9,
      message([
        [1, true],
        [2, 90],
      ]),
    ],
    [
      10,
      message([
        [
          3,
          message([
            [1, family(false)],
            [2, true],
            [3, 4],
            [4, 3],
            [5, 2],
          ]),
        ],
      ]),
    ],
  ]);
}

export interface RibShape {
  paths: readonly PathShape[];
  peers: readonly PeerShape[];
  /** What peers sent: by address. */
  readonly received?: Readonly<Record<string, readonly PathShape[]>>;
}

export interface ServedVersion {
  readonly handlers: Record<string, Handler>;
  /** To all who watch. */
  tell(paths: readonly PathShape[]): void;
  tellPeers(): void;
}

/** One version, over a table that the test may change. */
export function served(version: Version, rib: RibShape): ServedVersion {
  const service = serviceName(version);
  const watchers = new Set<(event: readonly PathShape[] | "peer") => void>();
  const one =
    (...fields: Fields): Handler =>
    async ({ send }) => {
      send(message(fields));
      return 0;
    };
  const isV6 = ({ prefix }: PathShape) => prefix.includes(":");
  const asked = (request: Uint8Array) => requestOf(request);
  const watch =
    (
      take: (event: readonly PathShape[] | "peer", send: (body: Uint8Array) => void) => void,
      first: (send: (body: Uint8Array) => void, request: Uint8Array) => void,
    ): Handler =>
    async ({ send, closed, request }) => {
      const listener = (event: readonly PathShape[] | "peer") => take(event, send);
      watchers.add(listener);
      first(send, request);
      await closed;
      watchers.delete(listener);
      return 0;
    };
  const handlers: Record<string, Handler> = {
    [`${service}/GetBgp`]: one([
      1,
      message([
        [1, 64_512],
        [2, "192.0.2.1"],
        [3, 179],
      ]),
    ]),
    [`${service}/ListPeer`]: async ({ send }) => {
      for (const peer of rib.peers) send(message([[1, peerMessage(version, peer)]]));
      return 0;
    },
    [`${service}/ListPath`]: async ({ send, request }) => {
      const { table, name, v6 } = asked(request);
      // Version 4 refuses the number that is "not said".
      if (version === "api" && table === 0) return 3;
      const paths = table >= (version === "api" ? 3 : 2) ? (rib.received?.[name] ?? []) : rib.paths;
      for (const path of paths.filter((each) => isV6(each) === v6))
        send(
          message([
            [
              1,
              message([
                [1, path.prefix],
                [2, pathMessage(version, path)],
              ]),
            ],
          ]),
        );
      return 0;
    },
    [`${service}/AddPath`]: one([1, new Uint8Array(16)]),
    [`${service}/DeletePath`]: one(),
  };
  if (version === "gobgpapi") {
    const tellOne = (send: (body: Uint8Array) => void, path: PathShape) =>
      send(message([[1, pathMessage(version, path)]]));
    handlers[`${service}/MonitorTable`] = async (call) => {
      const { v6 } = asked(call.request);
      return watch(
        (event, send) => {
          if (event !== "peer") for (const path of event) if (isV6(path) === v6) tellOne(send, path);
        },
        (send) => {
          for (const path of rib.paths) if (isV6(path) === v6) tellOne(send, path);
        },
      )(call);
    };
    const peers = (send: (body: Uint8Array) => void) => {
      for (const peer of rib.peers) send(message([[1, peerMessage(version, peer)]]));
    };
    handlers[`${service}/MonitorPeer`] = watch((event, send) => event === "peer" && peers(send), peers);
  } else {
    const endOfPeers = (send: (body: Uint8Array) => void) => send(message([[2, message([[1, 2]])]]));
    handlers[`${service}/WatchEvent`] = watch((event, send) => {
      if (event === "peer") send(message([[2, message([[1, 3]])]]));
      else send(message([[3, message(event.map((path) => [2, pathMessage(version, path)] as const))]]));
    }, endOfPeers);
  }
  return {
    handlers,
    tell: (paths) => {
      for (const listener of watchers) listener(paths);
    },
    tellPeers: () => {
      for (const listener of watchers) listener("peer");
    },
  };
}

/** Of ListPath and MonitorTable: table 1, name 2, family 3 {afi 1}. Numbers here fit in one byte. */
function requestOf(bytes: Uint8Array): { readonly table: number; readonly name: string; readonly v6: boolean } {
  let [table, name, v6] = [0, "", false];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at++] ?? 0;
    const size = bytes[at++] ?? 0;
    if ((tag & 7) === 0) {
      if (tag >> 3 === 1) table = size;
      continue;
    }
    const value = bytes.subarray(at, at + size);
    if (tag >> 3 === 2) name = Buffer.from(value).toString();
    else if (tag >> 3 === 3) v6 = value[1] === 2;
    at += size;
  }
  return { table, name, v6 };
}
