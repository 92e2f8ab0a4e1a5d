/**
 * What people ask the agent about policies: one connection step by step, and the rules of one endpoint. The engine of the offline commands
 * answers over the present facts; ends on this node are compared with what the kernel's maps say.
 */
import type { EndpointDto, StatusDto } from "../api/dto.ts";
import { ApiError } from "../api/errors.ts";
import type { EndpointDetailsDto, PolicyTraceDto, TraceQuestionDto } from "../api/policy-dto.ts";
import { type OfflineCluster, isLive } from "../compute/offline/cluster.ts";
import { parseFlow } from "../compute/offline/flow-text.ts";
import { liveCluster } from "../compute/offline/live.ts";
import { rulesOfNode, rulesOfPod } from "../compute/offline/resolved-rules.ts";
import { isMistake, type TraceMistake, traceConnection } from "../compute/offline/trace.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { AgentConfig } from "../config/index.ts";
import type { PacketQuestion } from "../datapath/kernel-verdict.ts";
import type { PolicyJudgement } from "../datapath/report.ts";
import { parseAddress } from "../model/ip.ts";
import type { PolicyTrace, ResolvedRules, TraceEnd, TracePath } from "../model/policy-reports.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";

export interface PolicyAnswersOptions {
  readonly config: Pick<AgentConfig, "nodeName" | "policyEnforcement" | "allowLockout">;
  readonly store: Pick<TableStore, "snapshot" | "table">;
  readonly datapath: { verdict(question: PacketQuestion): PolicyJudgement | null };
  readonly loop: { readonly result: ComputeResult | null; readonly revision: StatusDto["revision"] };
}

/** Tables that have a say. */
const asked = [
  "namespaces",
  "nodes",
  "pods",
  "services",
  "endpointSlices",
  "policies",
  "cidrGroups",
  "names",
  "localAddresses",
  "localEndpoints",
] as const;

/** A cluster with what it was made of. */
interface Known {
  readonly from: readonly unknown[];
  readonly cluster: OfflineCluster;
}

export class PolicyAnswers {
  readonly #options: PolicyAnswersOptions;
  /** The last cluster that was asked, as long as nobody needs its memory (20 MB with 10,000 pods and 5,000 policies). */
  #known: WeakRef<Known> | null = null;

  constructor(options: PolicyAnswersOptions) {
    this.#options = options;
  }

  /** @throws ApiError TRACE_FLOW, TRACE_END (400), NOT_READY (503) */
  trace({ from, to, family, ...texts }: TraceQuestionDto): PolicyTraceDto {
    const { port, icmp, icmp6 } = texts;
    const flow = parseFlow({
      ...(port !== null && { port }),
      ...(icmp !== null && { icmp }),
      ...(icmp6 !== null && { icmp6 }),
    });
    if ("message" in flow) throw new ApiError(400, "TRACE_FLOW", flow.message, flow.remedy);
    const { loop, config } = this.#options;
    const { revision } = loop;
    const cluster = this.#cluster();
    if (cluster === null) {
      throw new ApiError(
        503,
        "NOT_READY",
        "the agent has not seen everything yet",
        "tandem status says what it waits for",
      );
    }
    const answer = traceConnection(cluster, { from, to, flow, family });
    if (isMistake(answer)) throw this.#unknownEnd(cluster, [from, to], answer);
    return { ...this.#withKernel(answer), node: config.nodeName, revision };
  }

  /** A pod that the CNI has made may be one whose object no source has told of yet. */
  #unknownEnd({ facts }: OfflineCluster, ends: readonly string[], { message, remedy }: TraceMistake): ApiError {
    const made = new Set([...this.#options.store.table("localEndpoints").values()].map(({ pod }) => pod));
    const waiting = ends.find((end) => made.has(end) && !facts.pods.has(end));
    if (waiting === undefined) return new ApiError(400, "TRACE_END", message, remedy);
    const side = waiting === ends[0] ? "from" : "to";
    const why = "an endpoint of this node whose Pod object is not known yet: it is closed";
    return new ApiError(
      400,
      "TRACE_END",
      `${side} ${waiting}: ${why}`,
      "tandem status tells what the sources wait for",
    );
  }

  details(endpoint: EndpointDto): EndpointDetailsDto {
    const cluster = this.#cluster();
    return { ...endpoint, rules: cluster === null ? null : this.#rulesOf(cluster, endpoint.pod) };
  }

  #rulesOf(cluster: OfflineCluster, subject: string): ResolvedRules | null {
    const { nodeName } = this.#options.config;
    const { pods, nodes } = cluster.facts;
    const node = subject === `node/${nodeName}` ? nodes.get(nodeName) : undefined;
    if (node !== undefined) return rulesOfNode(cluster, node);
    const pod = pods.get(subject);
    return pod !== undefined && isLive(pod) ? rulesOfPod(cluster, pod) : null;
  }

  /** Null: there was no computation yet. The same as before, if nothing that has a say is different. */
  #cluster(): OfflineCluster | null {
    const { store, loop } = this.#options;
    const { result } = loop;
    if (result === null) return null;
    const tables = store.snapshot();
    const from = [...asked.map((name) => tables[name]), result.lastValid, result.identityOfPod];
    const known = this.#known?.deref();
    if (known !== undefined && from.every((each, at) => each === known.from[at])) return known.cluster;
    const fresh = { from, cluster: this.#make(tables, result) };
    this.#known = new WeakRef(fresh);
    return fresh.cluster;
  }

  #make(tables: TableSnapshot, { identities, lastValid }: ComputeResult): OfflineCluster {
    const { nodeName, policyEnforcement, allowLockout } = this.#options.config;
    return liveCluster({
      tables,
      node: nodeName,
      settings: { policyEnforcement, allowLockout, lastValid },
      identities,
    });
  }

  /** Ends on this node: whether they only report, and what the kernel's maps say of the same packet. */
  #withKernel(trace: PolicyTrace): PolicyTrace {
    const { nodeName } = this.#options.config;
    const { desired } = this.#options.loop.result ?? { desired: null };
    const audited = new Set(desired?.endpoints.flatMap(({ row, audit }) => (audit ? [row.pod] : [])));
    if (desired?.host?.audit === true) audited.add(`node/${nodeName}`);
    const add =
      (path: TracePath) =>
      (end: TraceEnd): TraceEnd => {
        if (end.node !== nodeName) return end;
        return { ...end, audit: audited.has(end.subject), kernel: this.#kernelVerdict(path, end) };
      };
    return { ...trace, paths: trace.paths.map((path) => ({ ...path, ends: path.ends.map(add(path)) })) };
  }

  #kernelVerdict({ source, destination, flow }: TracePath, { side, subject }: TraceEnd): PolicyJudgement | null {
    const peer = parseAddress(side === "egress" ? destination.address : source.address);
    const isNode = subject === `node/${this.#options.config.nodeName}`;
    const rows = [...this.#options.store.table("localEndpoints").values()].filter(({ pod }) => pod === subject);
    // Of several of one name the newest.
    const ifindex = isNode ? null : rows.sort((a, b) => b.id - a.id)[0]?.ifindex;
    if (peer === null || ifindex === undefined) return null;
    return this.#options.datapath.verdict({ ifindex, direction: side, peer, ...flow });
  }
}
