/**
 * The Lease of this node's agent: renewed all the time, so that the cluster knows that the agent is there, and sooner when what it says has
 * changed. One PUT each time, at the version that was written last; nothing is read as long as nobody else writes.
 *
 * Nothing waits for it: an API server that is away is a condition after a while, and the kernel goes on.
 *
 * Two agents for one node must not write in turns. An agent takes a lease that
 *   - nobody holds, or it holds itself;
 *   - is of an agent on the same boot of the same machine: that one has ended, as the node's lock lets only one run;
 *   - has not been renewed for its duration while this agent looked.
 * From anybody else it keeps away, and once it has seen the other renew the lease, that is the condition AGENT_DUPLICATE. An agent whose lease
 * was taken knows that the other one lives, wherever that is, and keeps away as well.
 */
import { createHash } from "node:crypto";
import type { Clock, Timer } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import {
  agentLabels,
  agentNamespace,
  type AgentReport,
  decodeReport,
  encodeReport,
  reportAnnotation,
} from "../kube-objects/index.ts";
import { isStatus, type KubeClient, kinds, type Lease, VersionMemory } from "../kube/index.ts";
import type { ConditionSink, Problem } from "../model/status.ts";

/** ms between two renewals, and s after which others take this agent for gone. */
const renewMs = 10_000;
const durationSeconds = 40;
/** ms within which changes of what it says are one write; drawn anew each time, as all agents hear of a policy at once. */
const gather = { leastMs: 500, mostMs: 1_500 } as const;
/** ms between writes at least. */
const restMs = 500;
const retry = { firstMs: 1_000, maxMs: 10_000 } as const;
/** ms for which it may fail without anybody being told. */
const silentMs = 30_000;
/** ms for an answer; and at the end, when somebody waits for this process to go. */
const patienceMs = 8_000;
const lastWordMs = 1_000;

export interface AgentLeaseOptions {
  readonly client: Pick<KubeClient, "get" | "create" | "update">;
  /** Of this pod, or "". */
  readonly namespace: () => Promise<string>;
  readonly nodeName: string;
  /** Of this process and no other. */
  readonly process: string;
  /** The machine by its own name, and an id that changes with each boot. */
  readonly host: string;
  readonly boot: string;
  readonly version: string;
  readonly conditions: ConditionSink;
  /** The API server's history is another one, as after a restore of etcd. */
  readonly onHistory: () => void;
  readonly clock: Clock;
  /** 0..1; Math.random. */
  readonly random?: () => number;
}

export type Said = Pick<AgentReport, "ready" | "network" | "policies">;

/** A lease of somebody else, as it is looked at until it may be taken. */
interface Foreign {
  readonly holder: string;
  /** When it was seen to be renewed, monotonic ms; first: when it was found. */
  readonly since: number;
  readonly renewTime: string;
  /** Somebody renews it. */
  readonly alive: boolean;
}

export class AgentLease {
  readonly #options: AgentLeaseOptions;
  readonly #identity: string;
  readonly #runner: BoundedFrequencyRunner;
  readonly #stopping = new AbortController();
  #said: Said = { ready: false, network: "", policies: null };
  /** As this agent wrote it last; null: to be read. */
  #written: Lease | null = null;
  #foreign: Foreign | null = null;
  readonly #versions = new VersionMemory();
  /** It was this agent's, so whoever has it now took it from a living one. */
  #held = false;
  #gathering: Timer | null = null;
  #failingSince: number | null = null;

  constructor(options: AgentLeaseOptions) {
    this.#options = options;
    this.#identity = `${options.nodeName}_${options.process}`;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: restMs,
      maxIntervalMs: renewMs,
      action: () => this.#round(),
      retry,
    });
  }

  start(): void {
    this.#runner.trigger();
  }

  /** From now on the agent says this. What is equal to what it said costs nothing. */
  say(said: Said): void {
    const before = this.#text();
    this.#said = said;
    if (this.#text() === before || this.#gathering !== null) return;
    const { clock, random = Math.random } = this.#options;
    const { leastMs, mostMs } = gather;
    this.#gathering = clock.setTimer(leastMs + random() * (mostMs - leastMs), () => {
      this.#gathering = null;
      this.#runner.trigger();
    });
  }

  /** Says that the agent is not ready any more, if that can be said soon. */
  async stop(): Promise<void> {
    const { clock, client } = this.#options;
    this.#gathering?.cancel();
    const stopped = this.#runner.stop();
    const patience = new AbortController();
    const late = clock.sleep(lastWordMs, patience.signal).then(
      () => false,
      () => true,
    );
    // A renewal under way may end in its own time; otherwise of which version the lease is now is not known.
    const inTime = await Promise.race([stopped.then(() => true), late]);
    patience.abort();
    this.#stopping.abort();
    await stopped;
    if (!inTime || this.#written === null || this.#foreign !== null) return;
    this.#said = { ...this.#said, ready: false };
    // Then it is told by its silence.
    await client.update(kinds.leases, this.#lease(this.#written, ""), call(lastWordMs)).catch(() => undefined);
  }

  async #round(): Promise<void> {
    try {
      await this.#renew();
      this.#failingSince = null;
      this.#report(null);
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      const now = this.#options.clock.monotonicMs();
      this.#failingSince ??= now;
      if (now - this.#failingSince >= silentMs) this.#report(error);
      throw error;
    }
  }

  async #renew(): Promise<void> {
    const { client } = this.#options;
    const { signal } = this.#stopping;
    if (this.#written !== null) {
      try {
        this.#take(await client.update(kinds.leases, this.#lease(this.#written), call(patienceMs, signal)));
        return;
      } catch (error) {
        if (!isStatus(error, 409) && !isStatus(error, 404)) throw error;
        // Somebody wrote to it or removed it, perhaps we ourselves with an answer that was lost.
        this.#written = null;
      }
    }
    const name = await this.#name();
    const found = await client.get(kinds.leases, name, call(patienceMs, signal)).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
    this.#see(found);
    if (found === null) {
      const node = await client.get(kinds.nodes, { name: this.#options.nodeName }, call(patienceMs, signal));
      const owner = { apiVersion: "v1", kind: "Node", name: node.metadata.name, uid: node.metadata.uid ?? "" };
      const lease: Lease = { metadata: { ...name, labels: agentLabels, ownerReferences: [owner] } };
      this.#take(await client.create(kinds.leases, this.#lease(lease), call(patienceMs, signal)));
    } else if (this.#mayTake(found)) {
      this.#take(await client.update(kinds.leases, this.#lease(found), call(patienceMs, signal)));
    }
  }

  #see(lease: Lease | null): void {
    if (this.#versions.wentBack(lease?.metadata.resourceVersion)) this.#options.onHistory();
  }

  #take(lease: Lease): void {
    this.#see(lease);
    this.#written = lease;
    this.#foreign = null;
    this.#held = true;
  }

  /** Remembers what was seen of a lease of somebody else. */
  #mayTake({ metadata, spec }: Lease): boolean {
    const { clock, host, boot } = this.#options;
    const holder = spec?.holderIdentity ?? "";
    if (holder === "" || holder === this.#identity) return true;
    const report = decodeReport(metadata.annotations?.[reportAnnotation]);
    if (!this.#held && boot !== "" && report?.boot === boot && report.host === host) return true;
    const now = clock.monotonicMs();
    const renewTime = spec?.renewTime ?? "";
    const before = this.#foreign?.holder === holder ? this.#foreign : null;
    if (before === null) this.#foreign = { holder, since: now, renewTime, alive: this.#held };
    else if (before.renewTime !== renewTime) this.#foreign = { holder, since: now, renewTime, alive: true };
    else if (now - before.since >= (spec?.leaseDurationSeconds ?? durationSeconds) * 1_000) return true;
    const elsewhere = report === null || report.host === "" ? "" : ` on ${report.host}`;
    if (this.#foreign?.alive === true) this.#reportDuplicate(`${holder}${elsewhere}`);
    return false;
  }

  /** @param holder "": given back */
  #lease(before: Lease, holder = this.#identity): Lease {
    const now = new Date(this.#options.clock.now()).toISOString().replace("Z", "000Z");
    const { metadata, spec } = before;
    const same = spec?.holderIdentity === this.#identity;
    const transitions = spec?.leaseTransitions ?? 0;
    return {
      ...before,
      metadata: {
        ...metadata,
        labels: { ...metadata.labels, ...agentLabels },
        annotations: { ...metadata.annotations, [reportAnnotation]: this.#text() },
      },
      spec: {
        holderIdentity: holder,
        leaseDurationSeconds: durationSeconds,
        acquireTime: same ? (spec.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: same || spec === undefined ? transitions : transitions + 1,
      },
    };
  }

  #text(): string {
    const { nodeName: node, host, boot, version } = this.#options;
    return encodeReport({ node, host, boot, version, ...this.#said });
  }

  async #name(): Promise<{ readonly namespace: string; readonly name: string }> {
    return { namespace: agentNamespace(await this.#options.namespace()), name: leaseName(this.#options.nodeName) };
  }

  #reportDuplicate(holder: string): void {
    const { conditions, nodeName, host } = this.#options;
    const problem: Problem = {
      code: "AGENT_DUPLICATE",
      severity: "warning",
      object: `Node ${nodeName}`,
      field: "",
      message: `another agent calls itself by this name and is alive: ${holder}; this one, on ${host}, goes on with its own pods, and the cluster hears of the other`,
      remedy: "set nodeName of one of them to the name of its own Node, or stop it",
    };
    conditions.report("agent-duplicate", [problem]);
  }

  #report(error: unknown): void {
    const { conditions, nodeName } = this.#options;
    if (this.#foreign === null) conditions.report("agent-duplicate", []);
    const remedy =
      "it is tried again; nothing in the kernel depends on it. See that the agent may get, create and update Leases in its namespace";
    const message = `the Lease by which the cluster knows of this agent is not renewed: ${messageOf(error)}`;
    const about = { severity: "warning", object: `Node ${nodeName}`, field: "" } as const;
    conditions.report("agent-lease", error === null ? [] : [{ ...about, code: "LEASE_NOT_RENEWED", message, remedy }]);
  }
}

/** Names of objects have 253 characters at most. */
export function leaseName(nodeName: string): string {
  const name = `tandem-agent-${nodeName}`;
  if (name.length <= 253) return name;
  return `${name.slice(0, 236).replace(/[.-]+$/, "")}-${createHash("sha256").update(nodeName).digest("hex").slice(0, 16)}`;
}

function call(timeoutMs: number, signal?: AbortSignal) {
  return { timeoutMs, retry: false, ...(signal === undefined ? {} : { signal }) };
}
