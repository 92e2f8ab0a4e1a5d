/** Rows for tests of compute, with what a test does not care about filled in. */
import { createComputation, type ComputationOptions, type ComputeResult } from "../../../src/compute/index.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { LocalEndpointRow, NodeRow, PodRow, PolicyRow } from "../../../src/model/tables.ts";
import { address, prefix } from "../../support/arbitrary-rows.ts";
import { localEndpoint, testAllocator } from "../../support/compute-cluster.ts";

export { address, prefix };

export function pod(name: string, fields: Partial<PodRow> = {}): PodRow {
  return {
    namespace: "shop",
    name,
    uid: "",
    labels: { app: name },
    node: "n1",
    serviceAccount: "default",
    hostNetwork: false,
    addresses: [],
    ports: [],
    phase: "Running",
    ready: true,
    ...fields,
  };
}

export function node(name: string, addresses: readonly string[], podCidrs: readonly string[] = []): NodeRow {
  return { name, labels: {}, addresses: addresses.map(address), podCidrs: podCidrs.map(prefix) };
}

export function policy(kind: PolicyRow["kind"], spec: unknown, fields: Partial<PolicyRow> = {}): PolicyRow {
  const namespace = kind === "CiliumClusterwideNetworkPolicy" ? "" : "shop";
  return { kind, namespace, name: "p", uid: "", generation: 1, spec, specs: null, ...fields };
}

/** One node's tables and its computation. */
export class Bench {
  readonly store = new TableStore();
  readonly #computation;
  #endpoints = 0;

  constructor(options: Partial<ComputationOptions> = {}) {
    this.#computation = createComputation({
      nodeName: "n1",
      identities: testAllocator(),
      policyEnforcement: "default",
      ...options,
    });
    this.nodes(node("n1", ["192.168.0.1"], ["10.1.1.0/24"]), node("n2", ["192.168.0.2"], ["10.1.2.0/24"]));
  }

  nodes(...rows: readonly NodeRow[]): this {
    for (const row of rows) this.store.upsert("nodes", row.name, row);
    return this;
  }

  pods(...rows: readonly PodRow[]): this {
    for (const row of rows) this.store.upsert("pods", `${row.namespace}/${row.name}`, row);
    return this;
  }

  /** Pods of this node, with their endpoints. */
  local(...rows: readonly PodRow[]): this {
    for (const row of rows) this.pods(row).endpoint(row);
    return this;
  }

  endpoint(row: PodRow, fields: Partial<LocalEndpointRow> = {}): this {
    const made = { ...localEndpoint(row, ++this.#endpoints), ...fields };
    this.store.upsert("localEndpoints", made.containerId, made);
    return this;
  }

  policies(...rows: readonly PolicyRow[]): this {
    for (const row of rows) this.store.upsert("policies", `${row.kind}/${row.namespace}/${row.name}`, row);
    return this;
  }

  compute(): ComputeResult {
    return this.#computation.compute(this.store.snapshot());
  }
}

/** The set of a local pod. */
export function setOf(result: ComputeResult, name: string) {
  const endpoint = result.desired.endpoints.find(({ row }) => row.pod === `shop/${name}`);
  const set = result.desired.sets.find(({ key }) => key === endpoint?.set);
  if (set === undefined) throw new Error(`${name} has no set`);
  return set;
}
