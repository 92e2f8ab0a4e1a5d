/**
 * Ports of the node that are for services (node_port): its own servers cannot bind them, instead of waiting for packets that go elsewhere. While
 * the agent is away they stay protected.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import { u32 } from "../native/layout.ts";
import { type MapName, nodePortKey } from "../native/layouts.gen.ts";
import type { Doubt } from "./comparison.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import type { EntryFailure } from "./problems.ts";
import { type FrontendChanges, rowChanges } from "./row-changes.ts";

const taken = u32.encode(1);

export class NodePortReconciler {
  readonly counters = new Counters();
  readonly table: MapTable;
  readonly #changes: FrontendChanges;
  #last: readonly DesiredFrontend[] | null = null;

  constructor(native: MapNative, map: (name: MapName) => MapInfo, changes: FrontendChanges = rowChanges) {
    this.#changes = changes;
    this.table = new MapTable(native, map("node_port"), this.counters, (key) => {
      const { port, protocol } = nodePortKey.decode(key);
      return `node port ${port}/${protocol}`;
    });
  }

  /** @returns how many entries were not as they were believed to be */
  read(): Promise<number> {
    this.#last = null;
    return this.table.read();
  }

  look(): Promise<Doubt | null> {
    return this.table.look();
  }

  async apply(frontends: readonly DesiredFrontend[]): Promise<readonly EntryFailure[]> {
    if (this.#last !== null) {
      // Backends come and go all the time, node ports do not.
      const { gone, come } = this.#changes(this.#last, frontends);
      if (samePorts(gone, come)) {
        this.#last = frontends;
        return [];
      }
    }
    this.table.replaceDesired(new Map([...portsOf(frontends)].map((key) => [key, taken])));
    const failures = await this.table.sync();
    this.#last = failures.length === 0 ? frontends : null;
    return failures;
  }
}

/** Keys of the map. */
function portsOf(frontends: readonly DesiredFrontend[]): ReadonlySet<string> {
  const ports = frontends.filter(({ nodePort }) => nodePort === true);
  return new Set(ports.map(({ port, protocol }) => keyText(nodePortKey.encode({ port, protocol }))));
}

function samePorts(gone: readonly DesiredFrontend[], come: readonly DesiredFrontend[]): boolean {
  const [before, after] = [portsOf(gone), portsOf(come)];
  return before.size === after.size && [...before].every((key) => after.has(key));
}
