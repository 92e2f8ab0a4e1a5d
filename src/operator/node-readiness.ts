/**
 * Tells the cluster whether pods of a node have a network, by what the node's agent says of itself, with the means that Cilium's operator has:
 *   - the condition NetworkUnavailable is true while an agent says that its node waits for BGP's session and routes, as after a boot,
 *     and false once the agent is ready, where it is not so yet (clouds set it at first, too);
 *   - a taint keeps pods away until then: who makes nodes gives it to them, and it goes when the agent is ready;
 *   - it comes back where an agent says that it waits, and where one that was there has not been ready for a while: stopped for good, not only restarted.
 * A node that never had an agent is left alone: whether it is to have one is not known here.
 */
import type { Clock } from "../lib/clock.ts";
import type { AgentReport } from "../kube-objects/index.ts";
import { isRecord, type KubeClient, kinds, type KubeObject } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { AgentLeases } from "./agent-leases.ts";
import type { ClusterView } from "./cluster-view.ts";
import { unlessChanged } from "./identity-gc.ts";
import type { Counters } from "./metrics.ts";
import type { Term } from "./term.ts";

/** ms that an agent may not be ready before its node is tainted. */
const patienceMs = 60_000;
const condition = "NetworkUnavailable";

export interface NodeReadinessOptions {
  readonly client: Pick<KubeClient, "get" | "patch">;
  readonly view: ClusterView;
  readonly agents: AgentLeases;
  /** Key of the taint; "": there is none. */
  readonly taint: string;
  /** Whether the condition is written. */
  readonly condition: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly counters: Counters;
}

export class NodeReadiness {
  readonly #options: NodeReadinessOptions;
  /** Node -> since when its agent is not ready, monotonic ms. */
  readonly #unready = new Map<string, number>();

  constructor(options: NodeReadinessOptions) {
    this.#options = options;
  }

  /** Looks at all nodes once. @throws what the client throws */
  async round(term: Term): Promise<void> {
    const { view, agents, clock, condition: writes } = this.#options;
    const now = clock.monotonicMs();
    const all = agents.agents();
    for (const node of this.#unready.keys()) if (!all.has(node)) this.#unready.delete(node);
    for (const [name, { live, report }] of all) {
      const node = view.nodes.get(name);
      if (node === undefined) continue;
      if (!term.held()) return;
      if (live && report.ready) {
        this.#unready.delete(name);
        if (writes && networkOf(node) !== "False") await this.#setCondition(name, available(report), term);
        await this.#setTaint(node, null, term);
        continue;
      }
      // It is there, and has nothing to send pods' packets to.
      if (live && report.network !== "") {
        if (writes && networkOf(node) !== "True") await this.#setCondition(name, unavailable(report), term);
        await this.#setTaint(node, "it waits for its network", term);
        continue;
      }
      const since = this.#unready.get(name) ?? now;
      this.#unready.set(name, since);
      if (now - since >= patienceMs) await this.#setTaint(node, "its agent is not ready", term);
    }
  }

  async #setCondition(name: string, wanted: NetworkCondition, term: Term): Promise<void> {
    const { client, clock, log, counters } = this.#options;
    const { signal } = term;
    const found = await unlessChanged(client.get(kinds.nodes, { name }, { signal }));
    if (found === null || networkOf(found) === wanted.status || !term.held()) return;
    const time = `${new Date(clock.now()).toISOString().slice(0, 19)}Z`;
    const said = { type: condition, ...wanted, lastHeartbeatTime: time, lastTransitionTime: time };
    // As it was read, or not at all. Not by server-side apply: some API servers (1.20) fail on a Node with two addresses of a type, as those of two families are.
    const conditions = [...conditionsOf(found).filter(({ type }) => type !== condition), said];
    const patch = { metadata: { resourceVersion: found.metadata.resourceVersion }, status: { conditions } };
    const work = client.patch(kinds.nodes, { name }, patch, { subresource: "status", signal });
    if ((await unlessChanged(work)) === null) return;
    counters.add(wanted.status === "False" ? "nodes_available_total" : "nodes_unavailable_total");
    log.info({ node: name, reason: wanted.reason }, wanted.message);
  }

  /** @param why null: there is to be none */
  async #setTaint({ metadata: { name }, spec }: KubeObject, why: string | null, term: Term): Promise<void> {
    const { client, taint: key, log, counters } = this.#options;
    const wanted = why !== null;
    if (key === "" || hasTaint(spec, key) === wanted) return;
    const { signal } = term;
    // The list is replaced as a whole, and the view knows of the keys only.
    const found = await unlessChanged(client.get(kinds.nodes, { name }, { signal }));
    if (found === null || hasTaint(found.spec, key) === wanted || !term.held()) return;
    const others = taintsOf(found.spec).filter((taint) => taint.key !== key);
    const taints = wanted ? [...others, { key, effect: "NoSchedule" }] : others;
    const { resourceVersion } = found.metadata;
    const patch = { metadata: { resourceVersion }, spec: { taints } };
    if ((await unlessChanged(client.patch(kinds.nodes, { name }, patch, { signal }))) === null) return;
    counters.add(wanted ? "nodes_tainted_total" : "nodes_untainted_total");
    if (wanted) log.warn({ node: name, taint: key }, `tainted: ${why}`);
    else log.info({ node: name, taint: key }, "taint removed: its agent is ready");
  }
}

function conditionsOf({ status }: KubeObject): readonly Readonly<Record<string, unknown>>[] {
  const { conditions } = isRecord(status) ? status : {};
  return Array.isArray(conditions) ? (conditions as readonly unknown[]).filter(isRecord) : [];
}

interface NetworkCondition {
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
}

function available({ network }: AgentReport): NetworkCondition {
  const without = network === "" ? "" : `, and did not wait longer for what is missing: ${network}`;
  return { status: "False", reason: "TandemIsUp", message: `Tandem is running on this node${without}` };
}

function unavailable({ network }: AgentReport): NetworkCondition {
  return { status: "True", reason: "WaitingForRoutes", message: `Tandem waits for this node's network: ${network}` };
}

/** Status of the condition; undefined: there is none. */
function networkOf(node: KubeObject): unknown {
  return conditionsOf(node).find(({ type }) => type === condition)?.status;
}

function taintsOf(spec: unknown): readonly Readonly<Record<string, unknown>>[] {
  const { taints } = isRecord(spec) ? spec : {};
  return Array.isArray(taints) ? (taints as readonly unknown[]).filter(isRecord) : [];
}

function hasTaint(spec: unknown, key: string): boolean {
  return taintsOf(spec).some((taint) => taint.key === key);
}
