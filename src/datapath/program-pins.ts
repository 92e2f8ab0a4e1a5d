/**
 * Programs that the verifier has passed stay pinned, each as `<program>-<digest>`: the digest is of everything that makes them what they are,
 * the object's bytes, the settings in .rodata and the very maps that they use. So a restarted agent of the same build takes them as
 * they are instead of having them verified again, which costs a second of CPU. Programs of another digest go once nothing needs them.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { LoadedObject, MapInfo, RodataValue } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { Handle } from "../native/handle.ts";
import type { Pins } from "./pins.ts";

export interface ProgramSource {
  /** Path of the .bpf.o. */
  readonly path: string;
  readonly rodata: readonly RodataValue[];
  /** Every map that a program may use. */
  readonly maps: Iterable<Pick<MapInfo, "name" | "id">>;
}

/** 16 hexadecimal digits. Map ids are never used again while the machine runs, and bpffs does not outlive that. */
export async function programDigest({ path, rodata, maps }: ProgramSource): Promise<string> {
  const hash = createHash("sha256").update(await readFile(path));
  for (const { variable, bytes } of rodata) hash.update(`\n${variable}=`).update(bytes);
  const used = [...maps].map(({ name, id }) => `${name}=${id}`).sort();
  return hash
    .update(`\n${used.join("\n")}`)
    .digest("hex")
    .slice(0, 16);
}

export class ProgramPins {
  readonly #native: Pick<NativeBinding, "openPrograms" | "pinProgram" | "unpin">;
  readonly #pins: Pins;
  /** Names of pins that are in use. */
  readonly #kept = new Set<string>();

  constructor(native: Pick<NativeBinding, "openPrograms" | "pinProgram" | "unpin">, pins: Pins) {
    this.#native = native;
    this.#pins = pins;
  }

  /** The programs of that digest, null unless all of them are pinned. */
  async open(names: readonly string[], digest: string): Promise<LoadedObject | null> {
    const there = await this.#pins.programNames();
    const pinned = names.map((name) => pinName(name, digest));
    for (const pin of pinned) this.#kept.add(pin);
    if (!pinned.every((pin) => there.has(pin))) return null;
    return this.#native.openPrograms(
      names.map((name) => ({ name, path: this.#pins.programPath(pinName(name, digest)) })),
    );
  }

  /** For the next start. */
  async keep(programs: readonly { readonly name: string; readonly handle: Handle }[], digest: string): Promise<void> {
    const there = await this.#pins.programNames();
    for (const { name, handle } of programs) {
      const pin = pinName(name, digest);
      // A crash between the pins of two programs left one.
      if (there.has(pin)) await this.#native.unpin(this.#pins.programPath(pin));
      await this.#native.pinProgram(handle, this.#pins.programPath(pin));
    }
  }

  /** Removes what neither was opened nor kept. What is attached stays attached. */
  async removeOthers(): Promise<void> {
    for (const pin of await this.#pins.programNames()) {
      if (!this.#kept.has(pin)) await this.#native.unpin(this.#pins.programPath(pin));
    }
  }
}

function pinName(program: string, digest: string): string {
  return `${program}-${digest}`;
}
