/**
 * Writes src/native/layouts.gen.ts: codecs of every map key and value and of `struct event` from the BTF of the built objects, and
 * the enums of bpf/include/tandem/types.h (BTF has only those that some variable uses). With --check it compares.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Btf, type BtfMember, type BtfStruct } from "../src/native/btf.ts";
import { finish, readText, root, snakeToCamel, snakeToPascal } from "./generated.ts";

const objects = ["pod", "network", "sock"];
const header = "bpf/include/tandem/types.h";

/** What a field is in TypeScript, and the text that writes and reads it; null for padding. */
interface Field {
  readonly type: string;
  readonly put: (value: string, at: string) => string;
  readonly take: (at: string) => string;
}

function loadObjects(): readonly Btf[] {
  return objects.map((name) => {
    const path = join(root, `build/bpf/${name}.bpf.o`);
    if (!existsSync(path)) {
      console.error(`layouts: ${path} is missing; run: npm run build:bpf`);
      process.exit(1);
    }
    return new Btf(readFileSync(path));
  });
}

/** Structs in order of use: what another one holds comes before it. */
const structs = new Map<string, { readonly btf: Btf; readonly struct: BtfStruct }>();

function addStruct(btf: Btf, struct: BtfStruct): void {
  if (structs.has(struct.name)) return;
  for (const member of struct.members) {
    const inner = btf.structOf(member.type);
    if (inner !== null && inner.name !== "address") addStruct(btf, inner);
  }
  structs.set(struct.name, { btf, struct });
}

const isPadding = (name: string) => /^pad\d*$/.test(name);

function fieldOf(btf: Btf, struct: BtfStruct, member: BtfMember): Field {
  const bytes = member.sizeBits / 8;
  const label = JSON.stringify(`${struct.name}.${member.name}`);
  const inner = btf.structOf(member.type);
  const array = btf.arrayOf(member.type);
  if (inner?.name === "address" || (array !== null && btf.sizeOf(array.element) === 1)) {
    return {
      type: "Uint8Array",
      put: (value, at) => `putBytes(buffer, ${at}, ${value}, ${bytes}, ${label})`,
      take: (at) => `takeBytes(buffer, ${at}, ${bytes})`,
    };
  }
  if (array !== null && btf.sizeOf(array.element) === 8) {
    return {
      type: "readonly bigint[]",
      put: (value, at) => `putWords(buffer, ${at}, ${value}, ${array.count}, ${label})`,
      take: (at) => `takeWords(buffer, ${at}, ${array.count})`,
    };
  }
  if (inner !== null) {
    const codec = snakeToCamel(inner.name);
    return {
      type: snakeToPascal(inner.name),
      put: (value, at) => `${codec}.encodeInto(buffer, ${at}, ${value})`,
      take: (at) => `${codec}.decode(buffer, ${at})`,
    };
  }
  const order = btf.typedefs(member.type).some((name) => name.startsWith("__be")) ? "BE" : "LE";
  const method = { 1: "UInt8", 2: `UInt16${order}`, 4: `UInt32${order}`, 8: `BigUInt64${order}` }[bytes];
  if (method === undefined) throw new Error(`no codec for ${struct.name}.${member.name} of ${bytes} bytes`);
  return {
    type: bytes === 8 ? "bigint" : "number",
    put: (value, at) => `buffer.write${method}(${value}, ${at})`,
    take: (at) => `buffer.read${method}(${at})`,
  };
}

const plus = (bytes: number) => (bytes === 0 ? "offset" : `offset + ${bytes}`);

function codecText(btf: Btf, struct: BtfStruct): string {
  const name = snakeToCamel(struct.name);
  const type = snakeToPascal(struct.name);
  const fields: string[] = [];
  const puts: string[] = [];
  const takes: string[] = [];
  let end = 0;
  const zero = (from: number, to: number) => {
    if (to > from) puts.push(`buffer.fill(0, ${plus(from)}, ${plus(to)})`);
  };
  for (const member of struct.members) {
    const start = member.offsetBits / 8;
    zero(end, start);
    end = start + member.sizeBits / 8;
    if (isPadding(member.name)) {
      zero(start, end);
      continue;
    }
    const key = snakeToCamel(member.name);
    const field = fieldOf(btf, struct, member);
    fields.push(`  readonly ${key}: ${field.type};`);
    puts.push(field.put(`value.${key}`, plus(start)));
    takes.push(`    ${key}: ${field.take(plus(start))},`);
  }
  zero(end, struct.size);
  return `
/** struct ${struct.name}, ${struct.size} bytes. */
export interface ${type} {
${fields.join("\n")}
}
export const ${name}: Codec<${type}> = makeCodec(
  ${JSON.stringify(struct.name)},
  ${struct.size},
  (buffer, offset, value) => {
${puts.map((put) => `    ${put};`).join("\n")}
  },
  (buffer, offset) => ({
${takes.join("\n")}
  }),
);
`;
}

function codecName(btf: Btf, id: number | null): string {
  if (id === null) return "null";
  const struct = btf.structOf(id);
  if (struct !== null) return snakeToCamel(struct.name);
  const size = btf.sizeOf(id);
  if (size === 4) return "u32";
  if (size === 8) return "u64";
  throw new Error(`no codec for ${btf.nameOf(id)}`);
}

function layoutMembers(btf: Btf, id: number | null, of: string): readonly string[] {
  const members = id === null ? [] : (btf.structOf(id)?.members ?? []);
  return members.map(
    ({ name, offsetBits, sizeBits }) =>
      `{ of: "${of}", name: ${JSON.stringify(name)}, offsetBits: ${offsetBits}, sizeBits: ${sizeBits} }`,
  );
}

function mapsText(all: readonly Btf[]): string {
  const rows = new Map<string, string>();
  for (const btf of all) {
    for (const map of btf.maps()) {
      if (!map.pinned || rows.has(map.name)) continue;
      const members = [...layoutMembers(btf, map.key, "key"), ...layoutMembers(btf, map.value, "value")];
      rows.set(
        map.name,
        `  ${map.name}: {
    key: ${codecName(btf, map.key)},
    value: ${codecName(btf, map.value)},
    layout: {
      type: ${map.type},
      flags: ${map.flags},
      maxEntries: ${map.maxEntries},
      keySize: ${map.key === null ? 0 : btf.sizeOf(map.key)},
      valueSize: ${map.value === null ? 0 : btf.sizeOf(map.value)},
      keyType: ${JSON.stringify(map.key === null ? "" : btf.nameOf(map.key))},
      valueType: ${JSON.stringify(map.value === null ? "" : btf.nameOf(map.value))},
      members: [
${members.map((member) => `        ${member},`).join("\n")}
      ],
    } as MapLayout,
  },`,
      );
    }
  }
  const sorted = [...rows.keys()].sort().map((name) => rows.get(name));
  return `
/** Every pinned map: its codecs, and the layout that a pinned one must have. */
export const mapLayouts = {
${sorted.join("\n")}
} as const;

export type MapName = keyof typeof mapLayouts;
`;
}

/** enum of the header -> const object; members lose the words that all of them begin with. */
function enumsText(text: string): string {
  const bare = text.replace(/\/\*[\s\S]*?\*\//g, "");
  return [...bare.matchAll(/^enum (\w+) \{([^}]*)\};/gm)]
    .map(([, name = "", body = ""]) => {
      let next = 0;
      const members = body
        .split(",")
        .map((part) => part.trim())
        .filter((part) => part !== "")
        .map((part) => {
          const [member = "", expression] = part.split("=").map((side) => side.trim());
          const value = expression === undefined ? next : evaluate(expression, name);
          next = value + 1;
          return { member, value };
        });
      const shared = sharedWords(members.map(({ member }) => member.split("_")));
      const rows = members.map(
        ({ member, value }) => `  ${snakeToCamel(member.split("_").slice(shared).join("_"))}: ${value},`,
      );
      return `\n/** enum ${name} */\nexport const ${snakeToPascal(name)} = {\n${rows.join("\n")}\n} as const;\n`;
    })
    .join("");
}

function evaluate(expression: string, name: string): number {
  const shift = /^(\d+)\s*<<\s*(\d+)$/.exec(expression);
  if (shift !== null) return Number(shift[1]) << Number(shift[2]);
  if (/^(0x[0-9a-f]+|\d+)$/i.test(expression)) return Number(expression);
  throw new Error(`enum ${name}: cannot read ${expression}`);
}

function sharedWords(words: readonly (readonly string[])[]): number {
  let shared = 0;
  while (words.every((each) => each.length > shared + 1 && each[shared] === words[0]?.[shared])) shared++;
  return shared;
}

const all = loadObjects();
for (const btf of all) {
  for (const map of btf.maps()) {
    if (!map.pinned) continue;
    for (const id of [map.key, map.value]) {
      const struct = id === null ? null : btf.structOf(id);
      if (struct !== null) addStruct(btf, struct);
    }
  }
  const event = btf.structNamed("event");
  if (event !== null) addStruct(btf, event);
}
const types = readText(header);
/** Numbers of the header that code here needs, and what they are. */
const constants = Object.entries({
  POLICY_WORDS: "64-bit words of a vector of rule groups.",
  POLICY_SET_GUARDS_SHIFT: "`struct policy_set.flags >> this`: groups that allow before the denies.",
  SERVICE_MAGLEV_SHIFT: "`struct service.flags >> this`: slots of the service's table in `maglev`.",
  MAGLEV_CHUNK: "Bytes of a table of `maglev` in one entry.",
  MAGLEV_NARROW: "Up to so many backends a slot of `maglev` is one byte, else two.",
}).map(([name, about]) => {
  const value = new RegExp(`#define ${name} (\\d+)`).exec(types)?.[1];
  if (value === undefined) throw new Error(`types.h has no ${name}`);
  return `/** ${about} */\nexport const ${name} = ${value};\n`;
});
if (!structs.has("event")) throw new Error("no object has an event");

finish(
  "layouts",
  "src/native/layouts.gen.ts",
  `/** Generated by scripts/generate-layouts.ts from the BTF of build/bpf/*.bpf.o and ${header}. Do not edit. */
import { type Codec, type MapLayout, makeCodec, putBytes, putWords, takeBytes, takeWords, u32, u64 } from "./layout.ts";

${constants.join("")}${enumsText(types)}${[...structs.values()].map(({ btf, struct }) => codecText(btf, struct)).join("")}${mapsText(all)}`,
);
