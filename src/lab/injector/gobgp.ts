/** A client of gobgpd: the stream of best paths, and announcing a prefix, in plain data. */
import {
  create,
  fromBinary,
  type Message,
  type MessageInitShape,
  type DescMessage,
  toBinary,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { addPathMethod, messageType, watchEventMethod } from "./descriptors.ts";

/** One best path that changed. */
export interface BestPath {
  /** "10.64.1.0/24" */
  readonly prefix: string;
  readonly family: 4 | 6;
  /** "" when the path carries none. */
  readonly nextHop: string;
  readonly withdrawn: boolean;
  /** Originated by this speaker, as its own pod CIDR. */
  readonly local: boolean;
}

interface AnyBytes {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

interface PathMessage {
  readonly nlri?: AnyBytes;
  readonly pattrs: readonly AnyBytes[];
  readonly isWithdraw: boolean;
  readonly family?: { readonly afi: number; readonly safi: number };
  readonly neighborIp: string;
}

const afiIp = 1;
const afiIp6 = 2;
const safiUnicast = 1;
const prefixType = messageType("IPAddressPrefix");
const nextHopType = messageType("NextHopAttribute");
const mpReachType = messageType("MpReachNLRIAttribute");

export class GobgpClient {
  readonly #transport: Transport;

  /** @param address host:port of gobgpd's API */
  constructor(address: string) {
    this.#transport = createGrpcTransport({ baseUrl: `http://${address}` });
  }

  /** Every best path once, then each change, in batches as gobgpd sends them. Throws when the stream ends or gobgpd is away. */
  async *bestPaths(signal: AbortSignal): AsyncGenerator<readonly BestPath[]> {
    const request = { peer: {}, table: { filters: [{ type: 0, init: true }] } } as MessageInitShape<DescMessage>;
    const response = await this.#transport.stream(watchEventMethod, signal, undefined, undefined, once(request));
    for await (const event of response.message) {
      const { table } = event as Message & { readonly table?: { readonly paths: readonly PathMessage[] } };
      const paths = (table?.paths ?? []).map(decodePath).filter((path) => path !== null);
      if (paths.length > 0) yield paths;
    }
  }

  /** Announces a prefix of this speaker, as kube-router announces its pod CIDRs. Doing it again changes nothing. */
  async announce(prefix: string, nextHop: string, signal: AbortSignal): Promise<void> {
    const [address = "", length = "0"] = prefix.split("/");
    const v6 = address.includes(":");
    const family = { afi: v6 ? afiIp6 : afiIp, safi: safiUnicast };
    const nlri = any("IPAddressPrefix", { prefix: address, prefixLen: Number(length) });
    const reach = v6
      ? any("MpReachNLRIAttribute", { family, nextHops: [nextHop], nlris: [nlri] })
      : any("NextHopAttribute", { nextHop });
    const path = { nlri, family, pattrs: [any("OriginAttribute", { origin: 0 }), reach] };
    const request = { tableType: 0, path } as MessageInitShape<DescMessage>;
    await this.#transport.unary(addPathMethod, signal, 5000, undefined, request);
  }
}

async function* once<T>(value: T): AsyncIterable<T> {
  yield value;
}

function any(name: string, value: object): AnyBytes {
  const type = messageType(name);
  return {
    typeUrl: `type.googleapis.com/apipb.${name}`,
    value: toBinary(type, create(type, value as MessageInitShape<DescMessage>)),
  };
}

/** null: a family other than unicast IPv4 and IPv6, which kube-router ignores. */
function decodePath(path: PathMessage): BestPath | null {
  const { family, nlri } = path;
  if (nlri === undefined || family?.safi !== safiUnicast) return null;
  if (family.afi !== afiIp && family.afi !== afiIp6) return null;
  const { prefix, prefixLen } = fromBinary(prefixType, nlri.value) as Message & { prefix: string; prefixLen: number };
  return {
    prefix: `${prefix}/${prefixLen}`,
    family: family.afi === afiIp ? 4 : 6,
    nextHop: nextHopOf(path.pattrs),
    withdrawn: path.isWithdraw,
    // Version 3 writes the absent address of a local path as Go prints a nil one.
    local: path.neighborIp === "" || path.neighborIp === "<nil>",
  };
}

function nextHopOf(attributes: readonly AnyBytes[]): string {
  for (const { typeUrl, value } of attributes) {
    if (typeUrl.endsWith(".NextHopAttribute"))
      return (fromBinary(nextHopType, value) as Message & { nextHop: string }).nextHop;
    if (typeUrl.endsWith(".MpReachNLRIAttribute")) {
      return (fromBinary(mpReachType, value) as Message & { nextHops: readonly string[] }).nextHops[0] ?? "";
    }
  }
  return "";
}
