/** Numbers that the operator tells of itself, as Prometheus reads them. */
import { exposition, type Family } from "../observe/metrics/exposition.ts";

/** Name without its prefix -> what it means. */
const known = {
  leading: "1 if this operator leads",
  identities: "CiliumIdentities of this cluster",
  identities_unused: "of them, those that nobody uses now",
  identities_marked_total: "identities that were marked as unused",
  identities_reused_total: "identities that were marked and came into use again",
  identities_deleted_total: "identities that were deleted",
  endpoints_deleted_total: "CiliumEndpoints whose pod is gone, that were deleted",
  nodes_written_total: "CiliumNodes that were made or changed",
  nodes_deleted_total: "CiliumNodes whose Node is gone, that were deleted",
  nodes_available_total: "times that a node's condition NetworkUnavailable was set to false",
  nodes_unavailable_total: "times that it was set to true since the agent waited for BGP's session and routes",
  nodes_tainted_total: "times that a node was tainted since its agent was not ready, or waited for its network",
  nodes_untainted_total: "times that a node's taint was removed since its agent was ready",
  policy_statuses_written_total: "writes of the status of a policy",
  rounds_failed_total: "rounds of any duty that failed and are repeated",
} as const;

export type CounterName = keyof typeof known;

export class Counters {
  readonly #values = new Map<CounterName, number>();

  add(name: CounterName): void {
    this.#values.set(name, this.get(name) + 1);
  }

  set(name: CounterName, value: number): void {
    this.#values.set(name, value);
  }

  get(name: CounterName): number {
    return this.#values.get(name) ?? 0;
  }

  families(): readonly Family[] {
    return Object.entries(known).map(([name, help]) => ({
      name: `tandem_operator_${name}`,
      type: name.endsWith("_total") ? "counter" : "gauge",
      help,
      samples: [{ labels: {}, value: this.get(name as CounterName) }],
    }));
  }

  text(): string {
    return exposition(this.families(), "text");
  }
}
