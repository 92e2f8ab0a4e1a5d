/**
 * Programs on devices: from_pod and to_pod on the host side of each pod's veth, from_network and to_network on each uplink. With TCX
 * a link is pinned as `<program>-<ifindex>`: by that name a restarted agent knows its own, and gives each the new program
 * atomically. With clsact the filter of priority 1, handle 1 is ours; the maps say on which devices. While the agent is away
 * programs stay where they are; a link of a device that went away has detached itself and only its pin is left.
 *
 * A TCX link waits for the end of an RCU grace period with the kernel's network lock held, 15 ms each: too long for the start of a pod,
 * and for its neighbours'. So a pod's device begins with clsact filters, in 2 ms, and gets its links in a quiet moment (`settle`): first the
 * link, then the filter goes. Meanwhile nothing judges twice: a TCX program's verdict keeps the kernel from asking filters. An agent that
 * ends in between leaves filters, which the next one replaces in place.
 *
 * A device is taken off a pod's programs only when it is gone: while the veth still exists its packets must go on being judged (and,
 * without an endpoint, dropped), or a pod that is being deleted would be without policy for its last moments.
 */
import { DeltaTracker } from "../lib/delta-tracker.ts";
import { messageOf } from "../lib/errors.ts";
import type { Problem } from "../model/status.ts";
import type { TcMode } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { isNativeFailure } from "../native/errors.ts";
import type { LoadedProgram } from "./load.ts";
import { Counters } from "./map-table.ts";
import type { Pins } from "./pins.ts";

const hooks = {
  from_pod: "ingress",
  to_pod: "egress",
  from_network: "ingress",
  to_network: "egress",
} as const;
type ProgramName = keyof typeof hooks;

const programsOf = { pod: ["from_pod", "to_pod"], uplink: ["from_network", "to_network"] } as const;
export type DeviceKind = keyof typeof programsOf;

export interface Device {
  readonly kind: DeviceKind;
  readonly ifindex: number;
  /** For messages. */
  readonly name: string;
}

type AttachNative = Pick<NativeBinding, "attachTc" | "detachTc" | "unpin" | "links">;

export interface AttachOptions {
  readonly native: AttachNative;
  readonly pins: Pins;
  readonly mode: TcMode;
  readonly program: (name: string) => LoadedProgram;
}

export class Attachments {
  readonly counters = new Counters();
  readonly #options: AttachOptions;
  /** "<program>-<ifindex>" -> id of the program. */
  readonly #tracker = new DeltaTracker<number>((left, right) => left === right);
  /** Those that are filters and are to become links. */
  readonly #unsettled = new Set<string>();

  constructor(options: AttachOptions) {
    this.#options = options;
  }

  /**
   * Gives everything that is attached the programs of this version, and removes what belongs to no device.
   * @param known devices of which the maps tell: of a filter nothing else does
   */
  async replaceAll(known: readonly Device[]): Promise<readonly Problem[]> {
    const { native, pins, mode } = this.#options;
    const present = new Set((await native.links(null)).map(({ index }) => index));
    const problems: Problem[] = [];
    const pinned = await pins.linkNames();
    const names = new Set(mode === "clsact" ? known.flatMap((device) => linkNames(device)) : []);
    for (const name of pinned) {
      const parsed = parseLinkName(name);
      if (parsed === null) continue;
      if (present.has(parsed.ifindex)) names.add(name);
      else await native.unpin(pins.linkPath(name));
    }
    // Pods whose links the agent before this one did not come to: they have filters.
    const filters =
      mode === "tcx"
        ? known.flatMap((device) => linkNames(device)).filter((name) => isOfPod(name) && !pinned.has(name))
        : [];
    for (const name of [...names, ...filters]) {
      const { ifindex } = mustParse(name);
      if (!present.has(ifindex)) continue;
      try {
        if (names.has(name)) await this.#attach(name);
        else await this.#attachFilter(name);
      } catch (error) {
        this.counters.failed(error);
        problems.push(attachProblem(name, `ifindex ${ifindex}`, error));
      }
    }
    return problems;
  }

  /** Attaches to what has no program yet. A device whose programs cannot be attached is a problem, the others go on. */
  async attach(devices: readonly Device[]): Promise<readonly Problem[]> {
    const wanted = new Map<string, number>();
    const deviceNames = new Map<string, string>();
    for (const device of devices) {
      for (const name of linkNames(device)) {
        wanted.set(name, this.#options.program(programOf(name)).id);
        deviceNames.set(name, device.name);
      }
    }
    this.#tracker.replaceDesired(wanted);
    const pending = this.#tracker.pendingUpdates();
    const problems: Problem[] = [];
    await Promise.all(
      pending.map(async ([name]) => {
        try {
          if (this.#options.mode === "tcx" && isOfPod(name)) await this.#attachFilter(name);
          else await this.#attach(name);
          this.counters.writes++;
        } catch (error) {
          this.counters.failed(error);
          problems.push(attachProblem(name, deviceNames.get(name) ?? name, error));
        }
      }),
    );
    return problems;
  }

  /** How many filters are to become links. */
  get unsettledCount(): number {
    return this.#unsettled.size;
  }

  /** Gives one device links in place of its filters. What cannot have them keeps its filters, and is tried again. */
  async settle(): Promise<void> {
    const [first] = this.#unsettled;
    const ifindex = first === undefined ? null : parseLinkName(first)?.ifindex;
    for (const name of [...this.#unsettled].filter((each) => parseLinkName(each)?.ifindex === ifindex)) {
      // To the end of the line: one device that fails does not keep the others waiting.
      this.#unsettled.delete(name);
      if (!this.#tracker.actual.has(name)) continue;
      try {
        await this.#attach(name);
        await this.#detachFilter(name);
      } catch (error) {
        if (isNativeFailure(error) && error.code === "ENODEV") {
          // The device took its filters along.
          this.#tracker.deleteActual(name);
          continue;
        }
        this.counters.failed(error);
        this.#unsettled.add(name);
      }
    }
  }

  /** Removes the programs of devices that are no uplinks any more, and the pins of pods' devices that are gone. */
  async detach(): Promise<void> {
    const pending = this.#tracker.pendingDeletions();
    if (pending.length === 0) return;
    const { native, pins, mode } = this.#options;
    const present = new Set((await native.links(null)).map(({ index }) => index));
    for (const name of pending) {
      const parsed = parseLinkName(name);
      if (parsed === null) continue;
      const { program, ifindex } = parsed;
      if (present.has(ifindex)) {
        if (program === "from_pod" || program === "to_pod") continue;
        await native.detachTc({ index: ifindex, netns: null }, hooks[program], mode, pins.linkPath(name));
      } else {
        await native.unpin(pins.linkPath(name));
      }
      this.#unsettled.delete(name);
      this.#tracker.deleteActual(name);
      this.counters.writes++;
    }
  }

  /**
   * What somebody else removed is forgotten, so that the next `attach` puts it back. With clsact nothing tells of a filter that is
   * gone; setting it again in place does no harm.
   * @returns how many links were missing
   */
  async verify(): Promise<number> {
    const { pins, mode } = this.#options;
    if (mode === "clsact") {
      for (const name of this.#tracker.actual.keys())
        await this.#attach(name).catch((error) => this.counters.failed(error));
      return 0;
    }
    const pinned = await pins.linkNames();
    const links = [...this.#tracker.actual.keys()].filter((name) => !this.#unsettled.has(name));
    const missing = links.filter((name) => !pinned.has(name));
    for (const name of missing) this.#tracker.deleteActual(name);
    return missing.length;
  }

  isAttached(kind: DeviceKind, ifindex: number): boolean {
    return programsOf[kind].every((program) => this.#tracker.actual.has(`${program}-${ifindex}`));
  }

  /** Both of a device's programs are this version's: known to the tracker as attached. */
  async #attach(name: string): Promise<void> {
    const { native, pins, mode, program } = this.#options;
    const parsed = mustParse(name);
    const { handle, id } = program(parsed.program);
    const device = { index: parsed.ifindex, netns: null };
    await native.attachTc(handle, device, hooks[parsed.program], mode, pins.linkPath(name));
    // A link of the other mode would judge every packet twice.
    if (mode === "clsact") await native.unpin(pins.linkPath(name));
    this.#tracker.setActual(name, id);
  }

  async #attachFilter(name: string): Promise<void> {
    const { program, ifindex } = mustParse(name);
    const { handle, id } = this.#options.program(program);
    await this.#options.native.attachTc(handle, { index: ifindex, netns: null }, hooks[program], "clsact", null);
    this.#unsettled.add(name);
    this.#tracker.setActual(name, id);
  }

  async #detachFilter(name: string): Promise<void> {
    const { program, ifindex } = mustParse(name);
    await this.#options.native.detachTc({ index: ifindex, netns: null }, hooks[program], "clsact", null);
  }
}

function isOfPod(name: string): boolean {
  return name.startsWith("from_pod-") || name.startsWith("to_pod-");
}

function linkNames({ kind, ifindex }: Device): readonly string[] {
  return programsOf[kind].map((program) => `${program}-${ifindex}`);
}

function programOf(name: string): string {
  return name.slice(0, name.lastIndexOf("-"));
}

function parseLinkName(name: string): { readonly program: ProgramName; readonly ifindex: number } | null {
  const [, program = "", ifindex = ""] = /^([a-z_]+)-(\d+)$/.exec(name) ?? [];
  return Object.hasOwn(hooks, program) ? { program: program as ProgramName, ifindex: Number(ifindex) } : null;
}

function mustParse(name: string): { readonly program: ProgramName; readonly ifindex: number } {
  const parsed = parseLinkName(name);
  if (parsed === null) throw new Error(`${name} is not the name of a link`);
  return parsed;
}

function attachProblem(name: string, device: string, error: unknown): Problem {
  const gone = isNativeFailure(error) && error.code === "ENODEV";
  return {
    code: "ATTACH_FAILED",
    severity: gone ? "warning" : "error",
    object: device,
    field: programOf(name),
    message: gone ? "the device is gone" : messageOf(error),
    remedy: gone
      ? "nothing, if its pod is being deleted; else delete the pod so that it is made anew"
      : "it is tried again with the next change; until then the pod stays closed",
  };
}
