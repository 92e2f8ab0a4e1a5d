/** Whether a pinned map is one that this version reads and writes. A misread map is worse than none. */
import { TandemError } from "../lib/errors.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { MapLayout } from "../native/layout.ts";

type PinnedBtf = ReturnType<NativeBinding["mapBtf"]>;

/** The first difference in words, null if there is none. Sizes in entries are another matter. */
export function layoutDifference(expected: MapLayout, info: MapInfo, btf: PinnedBtf): string | null {
  const numbers = [
    ["type", expected.type, info.type],
    ["flags", expected.flags, info.flags],
    ["bytes of a key", expected.keySize, info.keySize],
    ["bytes of a value", expected.valueSize, info.valueSize],
  ] as const;
  for (const [what, wanted, there] of numbers) {
    if (wanted !== there) return `${what}: ${there}, this version needs ${wanted}`;
  }
  if (btf === null) return null; // a kernel without BTF tells sizes only
  for (const [what, wanted, there] of [
    ["key", expected.keyType, btf.keyType],
    ["value", expected.valueType, btf.valueType],
  ] as const) {
    if (wanted !== there) return `${what}: ${there}, this version needs ${wanted}`;
  }
  const place = (member: { of: string; name: string; offsetBits: number; sizeBits: number }) =>
    `${member.of}.${member.name} (bits ${member.offsetBits}-${member.offsetBits + member.sizeBits - 1})`;
  for (let index = 0; index < Math.max(expected.members.length, btf.members.length); index++) {
    const wanted = expected.members[index];
    const there = btf.members[index];
    const wantedText = wanted === undefined ? "nothing" : place(wanted);
    const thereText = there === undefined ? "nothing" : place(there);
    if (wantedText !== thereText) return `${thereText}, this version needs ${wantedText}`;
  }
  return null;
}

export function layoutChanged(path: string, bpffs: string, difference: string): TandemError {
  return new TandemError({
    code: "LAYOUT_CHANGED",
    object: path,
    message: `the pinned map was made by another version with another layout: ${difference}`,
    remedy: `drain the node, stop the agent, remove ${bpffs}/links and ${bpffs}/maps, start the agent: its pods have no network in between`,
  });
}
