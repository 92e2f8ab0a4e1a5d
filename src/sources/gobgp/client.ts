/**
 * A client of gobgpd's gRPC API, as kube-router opens it on the node's loopback: which of its three versions answers is found out, and what
 * is told is the same for all. Nothing of kube-router's own is changed: paths are announced and withdrawn one by one.
 */
import { create, type DescMethodUnary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Connection } from "./connection.ts";
import { GobgpError, gobgpError } from "./errors.ts";
import { exportPolicy, exportSets, placeholders, writeExportAssignment, writeExportPolicy } from "./export-policy.ts";
import { merge } from "./merge.ts";
import { type Call, type Methods, methodsOf, readReply, type Reply, type Request } from "./methods.ts";
import { PathReader, writePath } from "./paths.ts";
import { readGlobal, readPeer } from "./peers.ts";
import { readAssignment, readDefinedSet, writePrefixSet } from "./policies.ts";
import { family as families, policyDirections, type Protocol, protocols } from "./protocol.ts";
import { serverStream } from "./server-stream.ts";
import type {
  Announcement,
  DefinedSet,
  Global,
  Path,
  Peer,
  PolicyAssignment,
  PolicyDirection,
  TableName,
  WatchEvent,
} from "./types.ts";
import { UnreadablePaths } from "./unreadable.ts";
import type { Prefix } from "../../model/ip.ts";

/** ms that a call with one answer may take, and one with a list. */
const timeoutMs = { one: 5_000, list: 120_000 } as const;

export interface PathQuery {
  readonly table: TableName;
  readonly family: 4 | 6;
  /** Peer, for what it sent and was sent. */
  readonly peer?: string;
  /** Only these. Empty or not set: all. */
  readonly prefixes?: readonly Prefix[];
}

export class GobgpClient {
  readonly address: string;
  readonly protocol: Protocol;
  /** Of the table of best paths, in all that this client was told. */
  readonly unreadable = new UnreadablePaths();
  readonly #methods: Methods;
  readonly #transport: Transport;
  readonly #connection: Connection;

  private constructor(address: string, protocol: Protocol, connection: Connection, transport: Transport) {
    this.address = address;
    this.protocol = protocol;
    this.#methods = methodsOf(protocol.service);
    this.#connection = connection;
    this.#transport = transport;
  }

  /**
   * @param address host:port, brackets around IPv6
   * @throws GobgpError GOBGP_UNREACHABLE, GOBGP_TIMEOUT, GOBGP_ANSWER; GOBGP_API: something answers that is no gobgpd
   */
  static async connect(address: string, signal: AbortSignal): Promise<GobgpClient> {
    const baseUrl = `http://${address}`;
    const connection = new Connection(baseUrl);
    const transport = createGrpcTransport({ baseUrl, sessionManager: connection });
    try {
      for (const protocol of protocols) {
        const client = new GobgpClient(address, protocol, connection, transport);
        try {
          await client.global(signal);
          return client;
        } catch (error) {
          if (!(error instanceof GobgpError && error.code === "GOBGP_API")) throw error;
        }
      }
      throw new GobgpError("GOBGP_API", address, "none of the API's versions is known there");
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Ends everything under way. */
  close(): void {
    this.#connection.close();
  }

  async global(signal: AbortSignal): Promise<Global> {
    const { first } = await this.#one("GetBgp", {} as Request, signal);
    return this.#read("GetBgp", () => readGlobal(first));
  }

  async *peers(signal: AbortSignal): AsyncGenerator<Peer> {
    // AdminState.UP is the number before DOWN; version 4 counts from 1.
    const firstDown = this.protocol.anyPackage === null ? 2 : 1;
    for await (const { first } of this.#many("ListPeer", {} as Request, signal)) {
      const peer = this.#read("ListPeer", () => readPeer(first, firstDown));
      if (peer !== null) yield peer;
    }
  }

  /** Destination by destination, as they come: all paths to one prefix, the best one first. */
  async *paths(query: PathQuery, signal: AbortSignal): AsyncGenerator<readonly Path[]> {
    const { table, exact } = this.protocol;
    const request = {
      tableType: table[query.table],
      name: query.peer ?? "",
      family: families[query.family],
      prefixes: (query.prefixes ?? []).map(({ text }) => ({ prefix: text, type: exact })),
      // Without it, what an import policy rejects is left out of what a peer sent.
      enableFiltered: query.table === "received",
    } as Request;
    const reader = query.table === "global" ? this.#pathReader() : this.#pathReader(new UnreadablePaths());
    for await (const { first } of this.#many("ListPath", request, signal, timeoutMs.list)) {
      const paths = this.#read("ListPath", () => reader.destination(first));
      if (paths.length > 0) yield paths;
    }
  }

  /** Changes of best paths and of peers, for ever. After `ready` nothing is missed; before, also the present may be told. */
  watch(signal: AbortSignal): AsyncGenerator<WatchEvent> {
    return this.protocol.watches ? this.#watch(signal) : this.#monitor(signal);
  }

  /** Of the global table. */
  async policies(direction: PolicyDirection, signal: AbortSignal): Promise<readonly PolicyAssignment[]> {
    const request = { name: "global", direction: policyDirections[direction] } as Request;
    const found: PolicyAssignment[] = [];
    for await (const { first } of this.#many("ListPolicyAssignment", request, signal, timeoutMs.one))
      found.push(this.#read("ListPolicyAssignment", () => readAssignment(first)));
    return found;
  }

  async definedSets(kind: "prefix" | "neighbor", signal: AbortSignal): Promise<readonly DefinedSet[]> {
    const { prefixSet, neighborSet } = this.protocol;
    const request = { definedType: kind === "prefix" ? prefixSet : neighborSet } as Request;
    const found: DefinedSet[] = [];
    for await (const { first } of this.#many("ListDefinedSet", request, signal, timeoutMs.one))
      found.push(this.#read("ListDefinedSet", () => readDefinedSet(first)));
    return found;
  }

  /** Doing it again changes nothing. What gobgpd does not export by its policies stays here. @throws GobgpError also GOBGP_READ_ONLY */
  async announce(announcement: Announcement, signal: AbortSignal): Promise<void> {
    this.#mustWrite("AddPath");
    const path = writePath(announcement, this.protocol.anyPackage);
    await this.#one("AddPath", { tableType: this.protocol.table.global, path } as Request, signal);
  }

  /**
   * Withdraws one path. It is told by its prefix, never by the number that announcing gave: that one ends with the path object, and a request
   * that names neither deletes all of the speaker's own paths.
   * @throws GobgpError also GOBGP_READ_ONLY, GOBGP_DELETE_ALL
   */
  async withdraw(announcement: Announcement, signal: AbortSignal): Promise<void> {
    this.#mustWrite("DeletePath");
    // Types say so; what comes from outside has none.
    const { prefix, nextHop } = announcement as Partial<Announcement>;
    const path =
      prefix === undefined || nextHop === undefined
        ? new Uint8Array(0)
        : writePath({ prefix, nextHop }, this.protocol.anyPackage);
    if (path.length === 0 || prefix === undefined) {
      throw new GobgpError(
        "GOBGP_DELETE_ALL",
        this.address,
        "DeletePath without a path deletes all: it is not asked for",
      );
    }
    const family = families[prefix.family];
    await this.#one("DeletePath", { tableType: this.protocol.table.global, family, path } as Request, signal);
  }

  /**
   * Adds exact prefixes to a set that there is, or takes some of them out: the others of the set stay as they are. A set that is left empty matches
   * everything (GoBGP's PrefixCondition): the caller never takes the last one out.
   * @throws GobgpError also GOBGP_READ_ONLY
   */
  async changeSet(
    change: "add" | "remove",
    name: string,
    prefixes: readonly Prefix[],
    signal: AbortSignal,
  ): Promise<void> {
    const call = change === "add" ? "AddDefinedSet" : "DeleteDefinedSet";
    this.#mustWrite(call);
    // Removing without a prefix is not sent: nothing says what that would be taken for.
    if (prefixes.length === 0) return;
    await this.#one(call, { definedSet: writePrefixSet(this.protocol.prefixSet, name, prefixes) } as Request, signal);
  }

  /**
   * The policy of `export-policy.ts`, and its sets, behind those that are there. It may be there already, and its sets with it.
   * @throws GobgpError also GOBGP_READ_ONLY
   */
  async addExportPolicy(signal: AbortSignal): Promise<void> {
    this.#mustWrite("AddPolicy");
    const there = new Set((await this.definedSets("prefix", signal)).map(({ name }) => name));
    for (const family of [4, 6] as const) {
      if (!there.has(exportSets[family])) await this.changeSet("add", exportSets[family], placeholders[family], signal);
    }
    const assigned = await this.policies("export", signal);
    if (assigned.some(({ policies }) => policies.some(({ name }) => name === exportPolicy))) return;
    // It may be there and not in force: whoever made it was ended in between, or somebody took it out. gobgpd refuses it then; where it is refused for
    // something else, so is what follows.
    await this.#one("AddPolicy", { policy: writeExportPolicy(this.protocol) } as Request, signal).catch(
      (error: unknown) => {
        if (!(error instanceof GobgpError && error.code === "GOBGP_REFUSED")) throw error;
      },
    );
    await this.#one("AddPolicyAssignment", { assignment: writeExportAssignment() } as Request, signal);
  }

  #mustWrite(call: Call): void {
    if (!this.protocol.writes)
      throw new GobgpError("GOBGP_READ_ONLY", this.address, `${call}: ${this.protocol.label} is only read`);
  }

  async *#watch(signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const request = { peer: {}, table: { filters: [{ type: this.protocol.bestPaths }] } } as Request;
    const reader = this.#pathReader();
    let ready = false;
    for await (const { second, third } of this.#many("WatchEvent", request, signal, null)) {
      // The first event comes with the registration: peers, and at least the end of their list.
      if (!ready) yield { kind: "ready" };
      ready = true;
      if (second.length > 0) yield { kind: "peer" };
      if (third.length === 0) continue;
      const parts = reader.tableEvent(third);
      for (;;) {
        const { value: paths, done } = this.#read("WatchEvent", () => parts.next());
        if (done) break;
        yield { kind: "paths", paths };
      }
    }
  }

  /** Version 2: a stream per family and one of peers, which begin with the present, so that nothing falls between. */
  async *#monitor(signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const reader = this.#pathReader();
    const ending = new AbortController();
    const all = AbortSignal.any([signal, ending.signal]);
    const tables = ([4, 6] as const).map((version) => {
      const request = { tableType: this.protocol.table.global, family: families[version], current: true } as Request;
      return this.#many("MonitorTable", request, all, null);
    });
    const peers = this.#many("MonitorPeer", { current: true } as Request, all, null);
    yield { kind: "ready" };
    try {
      const events = merge([
        ...tables.map((stream) => ({ kind: "path" as const, stream })),
        { kind: "peer" as const, stream: peers },
      ]);
      for await (const { kind, value } of events) {
        if (kind === "peer") yield { kind: "peer" };
        else {
          const path = this.#read("MonitorTable", () => reader.path(value.first));
          if (path !== null) yield { kind: "paths", paths: [path] };
        }
      }
    } finally {
      ending.abort();
    }
  }

  #pathReader(unreadable = this.unreadable): PathReader {
    return new PathReader(this.protocol.anyPackage === null, unreadable);
  }

  async #one(call: Call, request: Request, signal: AbortSignal): Promise<Reply> {
    const method = this.#methods[call] as DescMethodUnary;
    try {
      const { message } = await this.#transport.unary(method, signal, timeoutMs.one, undefined, request);
      return message as unknown as Reply;
    } catch (cause) {
      signal.throwIfAborted();
      throw gobgpError(this.address, call, cause, this.#connection.isLost);
    }
  }

  /** @param limitMs null: for ever */
  async *#many(
    call: Call,
    request: Request,
    signal: AbortSignal,
    limitMs: number | null = timeoutMs.one,
  ): AsyncGenerator<Reply> {
    const method = this.#methods[call];
    const path = `/${method.parent.typeName}/${method.name}`;
    const body = toBinary(method.input, create(method.input, request));
    try {
      for await (const messages of serverStream(this.#connection, { path, body, limitMs }, signal))
        for (const message of messages) yield readReply(message);
    } catch (cause) {
      signal.throwIfAborted();
      // Of a stream that has no end of its own, an end without a status is the daemon's: the connection's follows.
      const isBroken = limitMs === null && cause instanceof ConnectError && cause.code === Code.Internal;
      throw gobgpError(this.address, call, cause, isBroken || this.#connection.isLost);
    }
  }

  #read<T>(call: Call, read: () => T): T {
    try {
      return read();
    } catch (cause) {
      throw gobgpError(this.address, call, cause);
    }
  }
}
