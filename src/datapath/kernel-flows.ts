/**
 * Connections that others' rules began (kube-proxy's, a container runtime's), in the map kernel_flow, for programs that cannot ask the kernel's
 * conntrack themselves. Those of before the first service of ours matter: once its address is served, no new connection meets the rules. So they
 * are copied before services are written and once more after it, for what began meanwhile; later looks only remove what has ended. One that stays a
 * while too long harms nobody: a connection that begins anew says so, and is ours.
 */
import { messageOf } from "../lib/errors.ts";
import type { Problem } from "../model/status.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { kernelFlowKey } from "../native/layouts.gen.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import { entryProblems } from "./problems.ts";

/** The programs look for the key alone. */
const there = Buffer.from([1, 0, 0, 0]);

export type FlowNative = MapNative & Pick<NativeBinding, "redirectedFlows">;

export class KernelFlows {
  readonly counters = new Counters();
  readonly table: MapTable;
  readonly #native: FlowNative;
  #problems: readonly Problem[] = [];

  constructor(native: FlowNative, map: MapInfo) {
    this.#native = native;
    this.table = new MapTable(native, map, this.counters, () => "connections that others' rules began");
  }

  /** Of the last copy. */
  get problems(): readonly Problem[] {
    return this.#problems;
  }

  /** Never rejects: what was copied before stays where the kernel cannot be read. */
  async copy(): Promise<void> {
    try {
      const keys = await this.#native.redirectedFlows(null);
      const flows = new Map<string, Buffer>();
      for (let at = 0; at < keys.length; at += kernelFlowKey.size) {
        flows.set(keyText(keys.subarray(at, at + kernelFlowKey.size)), there);
      }
      this.table.replaceDesired(flows);
      this.#problems = entryProblems(await this.table.sync());
    } catch (error) {
      this.counters.failed(error);
      this.#problems = [
        {
          code: "KERNEL_FLOWS_UNKNOWN",
          severity: "warning",
          object: "nf_conntrack",
          field: "",
          message: `connections that kube-proxy's rules began may break when Tandem serves their address: ${messageOf(error)}`,
          remedy: "modprobe nf_conntrack_netlink, or drain the node before kube-proxy goes",
        },
      ];
    }
  }
}
