/** Messages of DNS written by hand, byte by byte, for tests: by other means than the product's codec. */

export interface WrittenRecord {
  readonly name: string;
  readonly type: number;
  readonly ttl?: number;
  /** Internet if not given. */
  readonly class?: number;
  /** A name, or bytes. */
  readonly data: string | readonly number[];
}

export interface WrittenResponse {
  readonly id?: number;
  /** Of the header; a response without error if not given. */
  readonly flags?: number;
  readonly question?: { readonly name: string; readonly type: number };
  readonly answers?: readonly WrittenRecord[];
}

export const [A, CNAME, AAAA] = [1, 5, 28] as const;

const u16 = (value: number): readonly number[] => [(value >> 8) & 255, value & 255];
const u32 = (value: number): readonly number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];

export function nameOf(text: string): readonly number[] {
  return [...text.split(".").flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]), 0];
}

export function written({ id = 7, flags = 0x8180, question, answers = [] }: WrittenResponse): Buffer {
  const { name, type } = question ?? { name: "api.test", type: A };
  const records = answers.flatMap(({ name: of, type: kind, ttl = 60, class: network = 1, data }) => {
    const bytes = typeof data === "string" ? nameOf(data) : data;
    return [...nameOf(of), ...u16(kind), ...u16(network), ...u32(ttl), ...u16(bytes.length), ...bytes];
  });
  const header = [...u16(id), ...u16(flags), ...u16(1), ...u16(answers.length), ...u16(0), ...u16(0)];
  return Buffer.from([...header, ...nameOf(name), ...u16(type), ...u16(1), ...records]);
}
