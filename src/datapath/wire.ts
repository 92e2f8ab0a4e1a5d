/**
 * from_wire (XDP) on uplinks, where the device and the settings have it. A link is pinned as `from_wire-<mode>-<ifindex>`: by that name a
 * restarted agent knows its own and how it is attached, and gives it the new program atomically. Without it nothing is missing: from_network
 * does all that it does. So what cannot be attached is told and left, until the device's MTU is another one (most drivers
 * refuse by that) or the agent begins anew: trying again and again could take a link down each time.
 *
 * `auto` leaves veths out, though they take native programs: what XDP sends back there is lost where the other end has no XDP program, too
 * (the kernel's veth_xdp_flush), and nothing on this end tells.
 */
import type { AgentConfig } from "../config/index.ts";
import { messageOf } from "../lib/errors.ts";
import type { Problem } from "../model/status.ts";
import type { UplinkRow } from "../model/tables.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { LinkRow } from "../native/netlink-contract.ts";
import { isNativeFailure } from "../native/errors.ts";
import type { LoadedProgram } from "./load.ts";
import { Counters } from "./map-table.ts";
import type { Pins } from "./pins.ts";
import type { WireReport } from "./report.ts";

type Mode = "native" | "generic";
type WireNative = Pick<NativeBinding, "attachXdp" | "unpin" | "links">;

export interface WireOptions {
  readonly native: WireNative;
  readonly pins: Pins;
  readonly xdp: AgentConfig["xdp"];
  /** null: this kernel has none of it, or did not take the program. Asked for when the programs are loaded. */
  readonly program: () => LoadedProgram | null;
}

interface Refused {
  readonly mtu: number;
  readonly why: string;
}

export class WireAttachments {
  readonly counters = new Counters();
  readonly #options: WireOptions;
  /** ifindex -> how. */
  readonly #attached = new Map<number, Mode>();
  readonly #refused = new Map<number, Refused>();
  #uplinks: readonly UplinkRow[] = [];

  constructor(options: WireOptions) {
    this.#options = options;
  }

  /** Gives every link that there is the program of this version, and removes those that the settings do not want. */
  async replaceAll(): Promise<void> {
    const { native, pins } = this.#options;
    const present = new Set((await native.links(null)).map(({ index }) => index));
    for (const name of await pins.linkNames()) {
      const link = parseName(name);
      if (link === null) continue;
      if (present.has(link.ifindex) && this.#wanted() === link.mode) await this.#attach(link.ifindex, link.mode, 0);
      else await native.unpin(pins.linkPath(name));
    }
  }

  /** After the programs behind it are attached, which begin its flows. */
  async apply(uplinks: readonly UplinkRow[]): Promise<readonly Problem[]> {
    const { native, pins } = this.#options;
    this.#uplinks = uplinks;
    const wanted = new Set(uplinks.map(({ ifindex }) => ifindex));
    for (const [ifindex, mode] of [...this.#attached]) {
      if (wanted.has(ifindex)) continue;
      await native.unpin(pins.linkPath(nameOf(mode, ifindex)));
      this.#attached.delete(ifindex);
      this.counters.writes++;
    }
    const mode = this.#wanted();
    const open = uplinks.filter(({ ifindex, mtu }) => {
      return !this.#attached.has(ifindex) && this.#refused.get(ifindex)?.mtu !== mtu;
    });
    if (open.length > 0 && mode !== null) {
      const links = new Map((await native.links(null)).map((link) => [link.index, link]));
      for (const uplink of open) await this.#begin(uplink, mode, links.get(uplink.ifindex));
    }
    return this.#problems();
  }

  /** What somebody else removed is forgotten, so that the next `apply` puts it back. @returns how many links were missing */
  async verify(): Promise<number> {
    const pinned = await this.#options.pins.linkNames();
    const missing = [...this.#attached].filter(([ifindex, mode]) => !pinned.has(nameOf(mode, ifindex)));
    for (const [ifindex] of missing) this.#attached.delete(ifindex);
    return missing.length;
  }

  report(): readonly WireReport[] {
    return this.#uplinks.map(({ ifindex, name, mtu }) => {
      const mode = this.#attached.get(ifindex) ?? "off";
      return { device: name, mode, why: mode === "off" ? this.#whyNot(ifindex, mtu) : "" };
    });
  }

  /** null: on no device. */
  #wanted(): Mode | null {
    const { xdp, program } = this.#options;
    if (xdp === "off" || program() === null) return null;
    return xdp === "generic" ? "generic" : "native";
  }

  async #begin({ ifindex, mtu, l3 }: UplinkRow, mode: Mode, link: LinkRow | undefined): Promise<void> {
    if (l3) this.#refused.set(ifindex, { mtu, why: "it has no Ethernet header" });
    else if (this.#options.xdp === "auto" && link?.kind === "veth") {
      this.#refused.set(ifindex, { mtu, why: "a veth; the setting xdp: native takes it" });
    } else await this.#attach(ifindex, mode, mtu);
  }

  async #attach(ifindex: number, mode: Mode, mtu: number): Promise<void> {
    const { native, pins } = this.#options;
    const program = this.#options.program();
    if (program === null) return;
    try {
      await native.attachXdp(
        program.handle,
        { index: ifindex, netns: null },
        mode,
        pins.linkPath(nameOf(mode, ifindex)),
      );
      this.#attached.set(ifindex, mode);
      this.#refused.delete(ifindex);
      this.counters.writes++;
    } catch (error) {
      // The device went away meanwhile: the next update does not name it.
      if (isNativeFailure(error) && error.code === "ENODEV") return;
      if (this.#options.xdp !== "auto") this.counters.failed(error);
      this.#refused.set(ifindex, { mtu, why: messageOf(error) });
    }
  }

  #whyNot(ifindex: number, mtu: number): string {
    const { xdp, program } = this.#options;
    if (xdp === "off") return "the setting xdp is off";
    if (program() === null) return "this kernel does not take the program";
    const refused = this.#refused.get(ifindex);
    return refused?.mtu === mtu ? refused.why : "not tried yet";
  }

  /** Who asked for it by name wants to know; with auto it is in the report alone. */
  #problems(): readonly Problem[] {
    const { xdp } = this.#options;
    if (xdp !== "native" && xdp !== "generic") return [];
    return this.report()
      .filter(({ mode }) => mode === "off")
      .map(({ device, why }) => ({
        code: "XDP_NOT_ATTACHED",
        severity: "warning",
        object: device,
        field: "xdp",
        message: `${why}; tc does all of its work`,
        remedy: "set xdp to generic or off, or change what the driver refuses (its MTU, its number of queues)",
      }));
  }
}

function nameOf(mode: Mode, ifindex: number): string {
  return `from_wire-${mode}-${ifindex}`;
}

function parseName(name: string): { readonly mode: Mode; readonly ifindex: number } | null {
  const [, mode = "", ifindex = ""] = /^from_wire-(native|generic)-(\d+)$/.exec(name) ?? [];
  return mode === "" ? null : { mode: mode as Mode, ifindex: Number(ifindex) };
}
