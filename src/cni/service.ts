/**
 * The CNI behind the agent's socket: makes and removes the network of this node's pods. ADD answers only when the pod's
 * policy is in the kernel, and leaves nothing behind if it fails; DEL always succeeds when there is nothing left to remove.
 *
 * How a restarted agent knows its own: an endpoint is its file (`endpoint-files.ts`) plus the device of that name, index and
 * alias. `restore` compares the two and drops whichever half stands alone. While the agent is away, pods keep their
 * network, and the plugin keeps deletions in files.
 */
import type { CniRequest, CniResponse, EndpointOptionsDto } from "../api/dto.ts";
import type { Clock } from "../lib/clock.ts";
import type { Address, Prefix } from "../model/ip.ts";
import type { Logger } from "../model/logging.ts";
import type { TableStore } from "../model/store.ts";
import type { LocalEndpointRow } from "../model/tables.ts";
import type { NativeBinding } from "../native/contract.ts";
import { checkEndpoint } from "./check.ts";
import { DeleteQueue } from "./delete-queue.ts";
import { EndpointFiles, type EndpointRecord } from "./endpoint-files.ts";
import { EndpointIds } from "./endpoint-ids.ts";
import { CniError, cniCodes, describe, errorOutput, notReady, starting, tryAgain } from "./errors.ts";
import { AddressPools, type AddressUsage } from "./ipam.ts";
import { KeyedMutex } from "./keyed-mutex.ts";
import { type AddCall, answerVersion, type CniCall, type DelCall, type GcCall, parseRequest } from "./request.ts";
import { reconcileWithKernel, withoutDevice } from "./restore.ts";
import { addResult } from "./result.ts";
import { setPodMtu } from "./pod-mtus.ts";
import { compareLink, configureLink, createLink, removeLink } from "./wiring.ts";
import { hostDeviceName, macFor, macText, nodeSysctls } from "./wiring-plan.ts";

/** Shorter than the plugin's time-out (30 s), so that the runtime learns the reason. */
const defaultReadyTimeoutMs = 25_000;

export interface CniOptions {
  readonly native: NativeBinding;
  readonly store: Pick<TableStore, "upsert" | "delete" | "table">;
  readonly config: {
    readonly stateDir: string;
    readonly ipv4: boolean;
    readonly ipv6: boolean;
  };
  readonly log: Logger;
  readonly clock: Pick<Clock, "now" | "monotonicMs" | "sleep">;
  /** Resolves when this very endpoint has its programs and policy: another sandbox of the same pod, still there, says nothing of it. */
  readonly ready: (endpoint: Pick<LocalEndpointRow, "pod" | "ifindex">, signal: AbortSignal) => Promise<void>;
  readonly podCidrs: () => readonly Prefix[];
  /** Of new pods: bytes. */
  readonly mtu: () => number;
  /** Why this node cannot take pods (for STATUS), null if it can. */
  readonly notReady?: () => string | null;
  readonly readyTimeoutMs?: number;
}

export class CniService {
  readonly #options: CniOptions;
  readonly #files: EndpointFiles;
  readonly #deletes: DeleteQueue;
  readonly #pools: AddressPools;
  readonly #ids = new EndpointIds();
  readonly #records = new Map<string, EndpointRecord>();
  /** One call at a time per container; containers do not wait for each other. */
  readonly #mutex = new KeyedMutex();
  /** ADDs under way, so that a DEL need not wait for their policy. */
  readonly #adding = new Map<string, AbortController>();
  /** Containers whose network is being taken down, or could not be yet. */
  readonly #leaving = new Set<string>();
  #restored = false;

  constructor(options: CniOptions) {
    this.#options = options;
    this.#files = new EndpointFiles(options.config.stateDir);
    this.#deletes = new DeleteQueue(options.config.stateDir);
    this.#pools = new AddressPools(options.podCidrs);
  }

  /** Takes up the endpoints of the agent before this one and does what was queued meanwhile. Calls are refused until then. */
  async restore(): Promise<void> {
    const { native, config, log, store } = this.#options;
    await this.#files.prepare();
    if (config.ipv4) await native.writeSysctls(null, nodeSysctls[4]);
    if (config.ipv6) await native.writeSysctls(null, nodeSysctls[6]);
    for (const record of await reconcileWithKernel({ native, files: this.#files, log })) {
      const { row } = record;
      for (const address of [row.ipv4, row.ipv6]) {
        const holder = address === null ? null : this.#pools.claim(address, row.pod);
        if (holder !== null) log.error({ pod: row.pod, address: address?.text, holder }, "two pods hold one address");
      }
      if (!this.#ids.claim(row.id)) log.error({ pod: row.pod, id: row.id }, "two pods hold one endpoint number");
      this.#records.set(row.containerId, record);
      store.upsert("localEndpoints", row.containerId, row);
    }
    this.#restored = true;
    await this.replayDeletes();
    log.info({ endpoints: this.#records.size }, "endpoints restored");
  }

  /**
   * Takes a deletion that comes before the endpoints are known: kept in a file, and done when they are. Where they became known
   * meanwhile it is done now.
   * @throws what the disk says, or CniError: the runtime's call cannot be understood
   */
  async keepDelete(request: CniRequest): Promise<void> {
    parseRequest(request); // a call that can never be done is refused now, while somebody reads the answer
    await this.#deletes.keep(request);
    if (this.#restored) await this.replayDeletes();
  }

  /** Does the deletions that were queued. Called by `restore` and before each ADD, GC and STATUS. */
  async replayDeletes(): Promise<void> {
    const { log } = this.#options;
    const { replayed, problems } = await this.#deletes.drain(async (request) => {
      const call = parseRequest(request);
      if (call.command === "DEL") await this.#del(call);
    });
    if (replayed > 0) log.info({ replayed }, "did the deletions that were queued while no agent could");
    for (const problem of problems) log.error({ problem }, "a queued deletion could not be done");
  }

  /**
   * Options of a pod of this node, kept over restarts as long as it lives.
   * @param endpoint its number, or "namespace/pod"
   * @returns false: there is no such pod here
   * @throws TandemError AGENT_STARTING before the endpoints of the last agent are known
   */
  async configure(endpoint: string, options: EndpointOptionsDto): Promise<boolean> {
    if (!this.#restored) throw starting();
    const chosen = [...this.#records.values()].filter(({ row }) => String(row.id) === endpoint || row.pod === endpoint);
    const done = await Promise.all(
      chosen.map(({ row: { containerId } }) =>
        this.#mutex.run(containerId, async () => {
          const record = this.#records.get(containerId);
          if (record === undefined) return false;
          await this.#keep({ ...record, row: { ...record.row, policyAuditMode: options.policyAuditMode } });
          return true;
        }),
      ),
    );
    return done.includes(true);
  }

  /**
   * Forgets endpoints whose device went without a DEL: with its namespace, when a runtime lost or crashed over it. Else their addresses would be
   * taken until the agent's next start.
   */
  async sweep(): Promise<void> {
    const { native, log } = this.#options;
    const settled = [...this.#records.values()].filter(({ row }) => !this.#adding.has(row.containerId));
    for (const { row } of await withoutDevice(native, settled)) {
      await this.#mutex.run(row.containerId, async () => {
        const record = this.#records.get(row.containerId);
        if (record === undefined || (await withoutDevice(native, [record])).length === 0) return;
        await this.#dismantle(record);
        log.warn({ pod: record.row.pod, device: record.hostDevice }, "endpoint dropped: its device went without a DEL");
      });
    }
  }

  /** Gives the pods that run this MTU. One that cannot be given it is told, and keeps what it has. */
  async setMtu(bytes: number): Promise<void> {
    const { native, log } = this.#options;
    for (const { row } of [...this.#records.values()]) {
      await this.#mutex.run(row.containerId, async () => {
        const record = this.#records.get(row.containerId);
        if (record === undefined) return;
        try {
          if ((await setPodMtu(native, record, bytes)) && bytes > record.mtu)
            await this.#keep({ ...record, mtu: bytes });
        } catch (error) {
          log.warn({ pod: row.pod, bytes, error: describe(error) }, "the MTU of a pod could not be set");
        }
      });
    }
  }

  /** Never rejects: a failure is a CNI error object with exitCode 1. `signal`: the plugin has gone. */
  async handle(request: CniRequest, signal: AbortSignal): Promise<CniResponse> {
    try {
      return { exitCode: 0, output: await this.#dispatch(parseRequest(request), signal) };
    } catch (error) {
      const fields = { command: request.command, containerId: request.containerId, args: request.args };
      if (error instanceof CniError) this.#options.log.warn({ ...fields, code: error.code }, describe(error));
      else this.#options.log.error({ ...fields, error: describe(error) }, "CNI call failed");
      return { exitCode: 1, output: errorOutput(answerVersion(request.config), error) };
    }
  }

  async #keep(record: EndpointRecord): Promise<void> {
    const { containerId } = record.row;
    await this.#files.write(record);
    this.#records.set(containerId, record);
    this.#options.store.upsert("localEndpoints", containerId, record.row);
  }

  isLeaving(containerId: string): boolean {
    return this.#leaving.has(containerId);
  }

  addresses(): readonly AddressUsage[] {
    return this.#pools.usage();
  }

  async #dispatch(call: CniCall, signal: AbortSignal): Promise<string> {
    if (call.command === "STATUS") {
      await this.#status();
      return "";
    }
    if (!this.#restored) throw tryAgain("tandem-agent", "is still taking up its endpoints");
    switch (call.command) {
      case "ADD":
        await this.replayDeletes();
        return this.#addAborting(call, signal);
      case "DEL":
        await this.#del(call);
        return "";
      case "CHECK":
        await this.#mutex.run(call.containerId, () =>
          checkEndpoint(this.#options.native, this.#records.get(call.containerId), call),
        );
        return "";
      case "GC":
        await this.replayDeletes();
        await this.#gc(call);
        return "";
    }
  }

  async #addAborting(call: AddCall, signal: AbortSignal): Promise<string> {
    return this.#mutex.run(call.containerId, async () => {
      const abort = new AbortController();
      this.#adding.set(call.containerId, abort);
      try {
        const record = await this.#add(call, AbortSignal.any([signal, abort.signal]));
        return addResult(call.version, record, call.dns);
      } finally {
        this.#adding.delete(call.containerId);
      }
    });
  }

  async #add(call: AddCall, signal: AbortSignal): Promise<EndpointRecord> {
    const existing = this.#records.get(call.containerId);
    if (existing !== undefined) return this.#addAgain(call, existing, signal);
    const { native, store, log, clock } = this.#options;
    const started = clock.monotonicMs();
    const plan = this.#plan(call);
    let record = plan;
    try {
      const { index, peerIndex } = await createLink(native, plan);
      record = { ...plan, row: { ...plan.row, ifindex: index } };
      this.#records.set(call.containerId, record);
      store.upsert("localEndpoints", call.containerId, record.row);
      const stop = new AbortController();
      // Waiting is last: where the other step ends it, that step's failure is the one to tell.
      const steps = [this.#files.write(record), this.#waitReady(record.row, AbortSignal.any([signal, stop.signal]))];
      for (const step of steps) step.catch(() => stop.abort());
      const failed = (await Promise.allSettled(steps)).find((step) => step.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      // Only now, with programs attached and policy in the kernel, both ends go up: until then no packet can pass them.
      await configureLink(native, record, peerIndex);
    } catch (error) {
      await this.#rollBack(record);
      throw error;
    }
    const { row } = record;
    log.info(
      {
        pod: row.pod,
        id: row.id,
        device: record.hostDevice,
        ipv4: row.ipv4?.text,
        ipv6: row.ipv6?.text,
        ms: Math.round(clock.monotonicMs() - started),
      },
      "pod added",
    );
    return record;
  }

  /** Addresses and a number for the pod, held from here on: either all or none. */
  #plan(call: AddCall): EndpointRecord {
    const { config, clock, mtu } = this.#options;
    const families = ([4, 6] as const).filter((family) => (family === 4 ? config.ipv4 : config.ipv6));
    const addresses = this.#pools.allocate(call.pod, families, call.requested);
    let id: number;
    try {
      id = this.#ids.allocate(call.pod);
    } catch (error) {
      this.#pools.release(addresses);
      throw error;
    }
    return {
      row: {
        pod: call.pod,
        uid: call.uid,
        containerId: call.containerId,
        id,
        ifindex: 0,
        ifname: call.ifname,
        netns: call.netns,
        ...addresses,
        podMac: macText(macFor(call.containerId, "pod")),
        hostMac: macText(macFor(call.containerId, "host")),
        policyAuditMode: null,
      },
      network: call.network,
      hostDevice: hostDeviceName(call.containerId),
      mtu: mtu(),
      created: clock.now(),
    };
  }

  async #addAgain(call: AddCall, record: EndpointRecord, signal: AbortSignal): Promise<EndpointRecord> {
    const { row } = record;
    const has = (address: Address) => address.text === row.ipv4?.text || address.text === row.ipv6?.text;
    const differences = [
      ...(call.ifname === row.ifname ? [] : [`CNI_IFNAME is ${row.ifname}`]),
      ...(call.netns === row.netns ? [] : [`CNI_NETNS is ${row.netns}`]),
      ...(call.pod === row.pod ? [] : [`the pod is ${row.pod}`]),
      ...(call.requested.every(has) ? [] : [`the addresses are ${row.ipv4?.text ?? "-"} and ${row.ipv6?.text ?? "-"}`]),
      ...(await compareLink(this.#options.native, record, row.netns)),
    ];
    if (differences.length > 0) {
      throw new CniError({
        code: "CNI_EXISTS",
        cniCode: cniCodes.exists,
        object: `container ${call.containerId}`,
        message: `was added before and differs: ${differences.join("; ")}`,
        remedy: "DEL it first",
      });
    }
    await this.#waitReady(row, signal);
    return record;
  }

  async #waitReady(endpoint: LocalEndpointRow, signal: AbortSignal): Promise<void> {
    const { pod } = endpoint;
    const { ready, clock, readyTimeoutMs = defaultReadyTimeoutMs } = this.#options;
    const done = new AbortController();
    const either = AbortSignal.any([signal, done.signal]);
    try {
      await Promise.race([
        ready(endpoint, either),
        clock.sleep(readyTimeoutMs, either).then(() => {
          throw tryAgain(`Pod ${pod}`, `its policy did not reach the kernel within ${readyTimeoutMs / 1000} s`);
        }),
      ]);
    } catch (error) {
      if (signal.aborted)
        throw tryAgain(`Pod ${pod}`, "the call was given up before the pod's policy was in the kernel");
      throw error;
    } finally {
      done.abort();
    }
  }

  async #rollBack(record: EndpointRecord): Promise<void> {
    try {
      await this.#dismantle(record);
    } catch (error) {
      // What is left stays known, address included, until a DEL or the next start removes it.
      this.#records.set(record.row.containerId, record);
      this.#options.log.error({ pod: record.row.pod, error: describe(error) }, "a failed ADD could not be undone");
    }
  }

  /** Link first: as long as it is there, its address must not go to another pod. Repeating it does no harm. */
  async #dismantle(record: EndpointRecord): Promise<void> {
    const { containerId, id } = record.row;
    this.#leaving.add(containerId);
    await removeLink(this.#options.native, containerId);
    this.#options.store.delete("localEndpoints", containerId);
    // Without its device it means nothing, to `restore` neither: no reason to keep a pod from ending on a disk that takes no writes.
    await this.#files.remove(containerId).catch((error: unknown) => {
      this.#options.log.warn({ containerId, error: describe(error) }, "the file of an endpoint that is no more stays");
    });
    this.#records.delete(containerId);
    this.#pools.release(record.row);
    this.#ids.release(id);
    this.#leaving.delete(containerId);
  }

  async #del(call: DelCall): Promise<void> {
    this.#adding.get(call.containerId)?.abort();
    await this.#mutex.run(call.containerId, async () => {
      const record = this.#records.get(call.containerId);
      if (record === undefined || record.row.ifname !== call.ifname) return;
      await this.#dismantle(record);
      this.#options.log.info({ pod: record.row.pod, id: record.row.id }, "pod removed");
    });
  }

  async #gc(call: GcCall): Promise<void> {
    const valid = new Set(call.valid.map((one) => `${one.containerId}/${one.ifname}`));
    const failures: unknown[] = [];
    for (const { row, network } of [...this.#records.values()]) {
      const kept = network !== call.network || valid.has(`${row.containerId}/${row.ifname}`);
      // One under way belongs to a call that the runtime has not finished: it is not garbage.
      if (kept || this.#adding.has(row.containerId)) continue;
      const { containerId, ifname } = row;
      // As much as possible goes, as the specification asks; what did not is told at the end.
      await this.#del({ command: "DEL", version: call.version, containerId, ifname }).catch((error: unknown) => {
        failures.push(error);
      });
    }
    if (failures.length > 0) throw failures[0];
  }

  async #status(): Promise<void> {
    const reason = this.#restored ? (this.#options.notReady?.() ?? null) : "it is still taking up its endpoints";
    const lacking = this.#options.podCidrs().length === 0 ? "this node has no pod CIDR yet" : null;
    const message = reason ?? lacking;
    if (message === null) return this.replayDeletes();
    throw notReady(message);
  }
}
