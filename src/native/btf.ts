/**
 * Reads the types and map definitions of an eBPF object (ELF64, little endian, section .BTF) as the compiler wrote them, so that what
 * JavaScript encodes is what the programs read. Only what maps need: no line information, no relocations.
 * Source: Documentation/bpf/btf.rst of the kernel, and libbpf's convention for the section .maps.
 */

/** A member with what the kernel tells of it too: the type behind typedefs. */
export interface BtfMember {
  readonly name: string;
  readonly offsetBits: number;
  readonly sizeBits: number;
  readonly type: number;
}

export interface BtfStruct {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly members: readonly BtfMember[];
}

/** A map as `.maps` declares it. Numbers are those of enum bpf_map_type and BPF_F_*. */
export interface BtfMap {
  readonly name: string;
  readonly type: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Type ids; null where the map has none (ring buffer). */
  readonly key: number | null;
  readonly value: number | null;
  readonly pinned: boolean;
}

interface RawType {
  readonly kind: number;
  readonly name: string;
  /** Bytes, or the id of the type referred to. */
  readonly sizeOrType: number;
  readonly members: readonly { readonly name: string; readonly type: number; readonly offsetBits: number }[];
  readonly element: number;
  readonly count: number;
}

const kinds = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  functionPrototype: 13,
  variable: 14,
  section: 15,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

const modifiers: ReadonlySet<number> = new Set([
  kinds.typedef,
  kinds.volatile,
  kinds.const,
  kinds.restrict,
  kinds.typeTag,
]);

export class Btf {
  readonly #types: readonly RawType[];

  /** @throws Error where the object has no readable .BTF */
  constructor(object: Buffer) {
    this.#types = readTypes(sectionOf(object, ".BTF"));
  }

  /** Names on the way to the type itself: ["__be32", "__u32"]. */
  typedefs(id: number): readonly string[] {
    const names: string[] = [];
    for (let type = this.#type(id); modifiers.has(type.kind); type = this.#type(type.sizeOrType)) {
      if (type.kind === kinds.typedef) names.push(type.name);
    }
    return names;
  }

  /** The id behind typedefs and qualifiers. */
  resolve(id: number): number {
    let at = id;
    for (let type = this.#type(at); modifiers.has(type.kind); type = this.#type(at)) at = type.sizeOrType;
    return at;
  }

  /** Name of the type behind typedefs: "unsigned int", "endpoint_key". */
  nameOf(id: number): string {
    return this.#type(this.resolve(id)).name;
  }

  sizeOf(id: number): number {
    const type = this.#type(this.resolve(id));
    if (type.kind === kinds.array) return type.count * this.sizeOf(type.element);
    return type.kind === kinds.pointer ? 8 : type.sizeOrType;
  }

  /** null where it is no struct. */
  structOf(id: number): BtfStruct | null {
    const type = this.#type(this.resolve(id));
    if (type.kind !== kinds.struct) return null;
    const members = type.members.map((member) => ({ ...member, sizeBits: this.sizeOf(member.type) * 8 }));
    return { name: type.name, size: type.sizeOrType, members };
  }

  /** null where it is no array. */
  arrayOf(id: number): { readonly element: number; readonly count: number } | null {
    const type = this.#type(this.resolve(id));
    return type.kind === kinds.array ? { element: type.element, count: type.count } : null;
  }

  structNamed(name: string): BtfStruct | null {
    const id = this.#types.findIndex((type) => type.kind === kinds.struct && type.name === name);
    return id < 0 ? null : this.structOf(id);
  }

  /** What `.maps` declares, sorted by name. */
  maps(): readonly BtfMap[] {
    const section = this.#types.find((type) => type.kind === kinds.section && type.name === ".maps");
    const variables = section?.members ?? [];
    return variables.map(({ type }) => this.#map(type)).sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  #map(variable: number): BtfMap {
    const { name, sizeOrType } = this.#type(variable);
    const members = new Map(this.structOf(sizeOrType)?.members.map((member) => [member.name, member.type]));
    // __uint(name, n) is a pointer to an array of n, __type(name, t) a pointer to t.
    const behind = (member: string): number | null => {
      const id = members.get(member);
      return id === undefined ? null : this.#type(this.resolve(id)).sizeOrType;
    };
    const number = (member: string): number => {
      const id = behind(member);
      return id === null ? 0 : (this.arrayOf(id)?.count ?? 0);
    };
    return {
      name,
      type: number("type"),
      maxEntries: number("max_entries"),
      flags: number("map_flags"),
      key: behind("key"),
      value: behind("value"),
      pinned: number("pinning") !== 0,
    };
  }

  #type(id: number): RawType {
    const type = this.#types[id];
    if (type === undefined) throw new Error(`BTF: no type ${id}`);
    return type;
  }
}

/** Bytes of a section of an ELF64 object, little endian (System V ABI, chapter 4). */
function sectionOf(object: Buffer, wanted: string): Buffer {
  if (object.length < 64 || object.readUInt32BE(0) !== 0x7f454c46 || object[4] !== 2 || object[5] !== 1) {
    throw new Error("not an ELF64 object of little endian");
  }
  const table = Number(object.readBigUInt64LE(40));
  const entrySize = object.readUInt16LE(58);
  const header = (index: number) => {
    const at = table + index * entrySize;
    const start = Number(object.readBigUInt64LE(at + 24));
    return {
      name: object.readUInt32LE(at),
      bytes: object.subarray(start, start + Number(object.readBigUInt64LE(at + 32))),
    };
  };
  const names = header(object.readUInt16LE(62)).bytes;
  for (let index = 1; index < object.readUInt16LE(60); index++) {
    const { name, bytes } = header(index);
    if (textAt(names, name) === wanted) return bytes;
  }
  throw new Error(`the object has no section ${wanted}`);
}

function textAt(bytes: Buffer, start: number): string {
  return bytes.toString("latin1", start, bytes.indexOf(0, start));
}

function readTypes(section: Buffer): readonly RawType[] {
  if (section.readUInt16LE(0) !== 0xeb9f) throw new Error("BTF: wrong magic");
  const headerLength = section.readUInt32LE(4);
  const start = headerLength + section.readUInt32LE(8);
  const end = start + section.readUInt32LE(12);
  const names = section.subarray(headerLength + section.readUInt32LE(16));
  const types: RawType[] = [{ kind: 0, name: "void", sizeOrType: 0, members: [], element: 0, count: 0 }];
  let at = start;
  const word = (): number => {
    at += 4;
    return section.readUInt32LE(at - 4);
  };
  while (at < end) {
    const name = textAt(names, word());
    const info = word();
    const kind = (info >>> 24) & 31;
    const length = info & 0xffff;
    const type = { kind, name, sizeOrType: word(), element: 0, count: 0 };
    const members: { name: string; type: number; offsetBits: number }[] = [];
    switch (kind) {
      case kinds.int:
      case kinds.variable:
      case kinds.declarationTag:
        word();
        break;
      case kinds.array:
        type.element = word();
        word();
        type.count = word();
        break;
      case kinds.struct:
      case kinds.union: {
        // With the kind flag, the upper byte of an offset is the size of a bit field.
        const mask = info >>> 31 === 1 ? 0xffffff : 0xffffffff;
        for (let index = 0; index < length; index++) {
          members.push({ name: textAt(names, word()), type: word(), offsetBits: (word() & mask) >>> 0 });
        }
        break;
      }
      case kinds.section:
        for (let index = 0; index < length; index++) {
          const variable = word();
          members.push({ name: types[variable]?.name ?? "", type: variable, offsetBits: word() * 8 });
          word();
        }
        break;
      case kinds.enum:
      case kinds.functionPrototype:
        at += length * 8;
        break;
      case kinds.enum64:
        at += length * 12;
        break;
    }
    types.push({ ...type, members });
  }
  return types;
}
