/**
 * Path attributes of both forms: google.protobuf.Any with the name of the message (GoBGP 2, 3), and a oneof with a field number of its own
 * for each (GoBGP 4). The messages inside are the same. What is not read, or is not what it should be, is named and never a failure.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type Address, parseAddress } from "../../model/ip.ts";
import { WireError } from "./errors.ts";
import type { AsSegment, PathAttributes } from "./types.ts";
import { FieldReader } from "./wire.ts";

/** Name of the message in Any, its field in the oneof, and our word for it. */
const kinds = [
  ["UnknownAttribute", 1, "unknown"],
  ["OriginAttribute", 2, "origin"],
  ["AsPathAttribute", 3, "as-path"],
  ["NextHopAttribute", 4, "next-hop"],
  ["MultiExitDiscAttribute", 5, "med"],
  ["LocalPrefAttribute", 6, "local-pref"],
  ["AtomicAggregateAttribute", 7, "atomic aggregate"],
  ["AggregatorAttribute", 8, "aggregator"],
  ["CommunitiesAttribute", 9, "communities"],
  ["OriginatorIdAttribute", 10, "originator-id"],
  ["ClusterListAttribute", 11, "cluster-list"],
  ["MpReachNLRIAttribute", 12, "mp-reach"],
  ["MpUnreachNLRIAttribute", 13, "mp-unreach"],
  ["ExtendedCommunitiesAttribute", 14, "extended communities"],
  ["As4PathAttribute", 15, "AS4 path"],
  ["As4AggregatorAttribute", 16, "AS4 aggregator"],
  ["LargeCommunitiesAttribute", 21, "large-communities"],
] as const;

export type AttributeKind = (typeof kinds)[number][2];

const byName: ReadonlyMap<string, AttributeKind> = new Map(kinds.map(([name, , kind]) => [name, kind]));
const byField: ReadonlyMap<number, AttributeKind> = new Map(kinds.map(([, field, kind]) => [field, kind]));
const known: Readonly<Record<string, readonly [name: string, field: number]>> = Object.fromEntries(
  kinds.map(([name, field, kind]) => [kind, [name, field]]),
);

/** AS_SET, AS_SEQUENCE (RFC 4271), and those of confederations (RFC 5065). */
const segmentKinds: Readonly<Record<number, AsSegment["kind"]>> = {
  1: "set",
  2: "sequence",
  3: "confed-sequence",
  4: "confed-set",
};

/** Of the message Path. */
export const attributeField = 2;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class AttributeReader {
  /** Few next hops and communities are shared by many paths: each is kept once. */
  readonly #addresses = new Map<string, Address | null>();
  /** Neighbouring paths have the same attributes, byte by byte: what BGP told in one message. */
  #last: { readonly bytes: Buffer; readonly made: PathAttributes } | null = null;

  /**
   * @param bytes of a path, from its first attribute to the end of its last one
   * @param typed as a oneof; else Any
   */
  read(bytes: Buffer, typed: boolean): PathAttributes {
    if (this.#last?.bytes.equals(bytes) === true) return this.#last.made;
    const made = this.#read(bytes, typed);
    // A copy: a view would keep the whole message.
    this.#last = { bytes: Buffer.from(bytes), made };
    return made;
  }

  #read(bytes: Buffer, typed: boolean): PathAttributes {
    const others: string[] = [];
    const made: Mutable<PathAttributes> = {
      nextHop: null,
      asPath: nothing,
      localPref: null,
      med: null,
      communities: nothing,
      largeCommunities: nothing,
      originatorId: null,
      clusterList: nothing,
      others: nothing,
    };
    const reader = new FieldReader(bytes);
    while (reader.next()) {
      if (reader.field !== attributeField) {
        reader.skip();
        continue;
      }
      const attribute = reader.inner();
      try {
        if (typed) this.#readTyped(attribute, made, others);
        else this.#readAny(attribute, made, others);
      } catch (error) {
        // The path is there, and what else it carries holds.
        if (!(error instanceof WireError)) throw error;
        others.push(`unreadable attribute (${error.message})`);
      }
    }
    if (others.length > 0) made.others = others;
    return made;
  }

  address(text: string): Address | null {
    let address = this.#addresses.get(text);
    if (address === undefined) {
      address = parseAddress(text);
      // Next hops and peers are few; somebody who makes up many does not fill the memory.
      if (this.#addresses.size >= keptAddresses) this.#addresses.clear();
      this.#addresses.set(text, address);
    }
    return address;
  }

  #readTyped(reader: FieldReader, made: Mutable<PathAttributes>, others: string[]): void {
    while (reader.next()) {
      const kind = byField.get(reader.field);
      if (kind === undefined) {
        others.push(`unknown attribute (field ${reader.field})`);
        reader.skip();
      } else this.#take(kind, reader.inner(), made, others);
    }
  }

  #readAny(attribute: FieldReader, made: Mutable<PathAttributes>, others: string[]): void {
    const { name, value } = readAny(attribute);
    const kind = byName.get(name);
    if (kind === undefined) others.push(`unknown attribute (${name})`);
    else this.#take(kind, value, made, others);
  }

  #take(kind: AttributeKind, value: FieldReader, made: Mutable<PathAttributes>, others: string[]): void {
    switch (kind) {
      case "origin":
        return;
      case "next-hop":
        made.nextHop = this.address(firstText(value, 1));
        return;
      case "mp-reach":
        // Two for a next hop with its link-local address (RFC 2545): the global one comes first.
        made.nextHop = this.address(firstText(value, 2)) ?? made.nextHop;
        return;
      case "as-path":
        made.asPath = asPath(value);
        return;
      case "med":
        made.med = firstNumber(value);
        return;
      case "local-pref":
        made.localPref = firstNumber(value);
        return;
      case "communities":
        made.communities = communities(value);
        return;
      case "large-communities":
        made.largeCommunities = largeCommunities(value);
        return;
      case "originator-id":
        made.originatorId = firstText(value, 1);
        return;
      case "cluster-list":
        made.clusterList = texts(value);
        return;
      case "unknown":
        others.push(`unknown type ${unknownType(value)}`);
        return;
      default:
        others.push(kind);
    }
  }
}

const nothing: readonly never[] = [];
const keptAddresses = 10_000;

/** A message that is all defaults has no value at all. */
export function readAny(reader: FieldReader): { readonly name: string; readonly value: FieldReader } {
  let url = "";
  let value = empty;
  while (reader.next()) {
    if (reader.field === 1) url = reader.text();
    else if (reader.field === 2) value = reader.inner();
    else reader.skip();
  }
  return { name: url.slice(url.lastIndexOf(".") + 1), value };
}

/** At its end: nobody moves it. */
const empty = new FieldReader(new Uint8Array(0));

/** An attribute in the form that this version takes. @param anyPackage null: typed */
export function writeAttribute(kind: AttributeKind, value: Uint8Array, anyPackage: string | null): Uint8Array {
  const [name, field] = known[kind] ?? ["", 0];
  if (anyPackage !== null) return writeAny(`${anyPackage}.${name}`, value);
  return new BinaryWriter().tag(field, WireType.LengthDelimited).bytes(value).finish();
}

export function writeAny(name: string, value: Uint8Array): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(`type.googleapis.com/${name}`);
  if (value.length > 0) writer.tag(2, WireType.LengthDelimited).bytes(value);
  return writer.finish();
}

function firstText(reader: FieldReader, field: number): string {
  let found: string | null = null;
  while (reader.next()) {
    if (reader.field === field && found === null) found = reader.text();
    else reader.skip();
  }
  return found ?? "";
}

function texts(reader: FieldReader): readonly string[] {
  const found: string[] = [];
  while (reader.next()) {
    if (reader.field === 1) found.push(reader.text());
    else reader.skip();
  }
  return found;
}

/** Zero is not written. */
function firstNumber(reader: FieldReader): number {
  let found = 0;
  while (reader.next()) {
    if (reader.field === 1) found = reader.number();
    else reader.skip();
  }
  return found;
}

function unknownType(reader: FieldReader): number {
  let type = 0;
  while (reader.next()) {
    if (reader.field === 2) type = reader.number();
    else reader.skip();
  }
  return type;
}

function asPath(reader: FieldReader): readonly AsSegment[] {
  const segments: AsSegment[] = [];
  while (reader.next()) {
    if (reader.field === 1) segments.push(segment(reader.inner()));
    else reader.skip();
  }
  return segments;
}

function segment(reader: FieldReader): AsSegment {
  const numbers: number[] = [];
  let type = 0;
  while (reader.next()) {
    if (reader.field === 1) type = reader.number();
    else if (reader.field === 2) reader.numbersInto(numbers);
    else reader.skip();
  }
  return { kind: segmentKinds[type] ?? "sequence", numbers };
}

function communities(reader: FieldReader): readonly string[] {
  const numbers: number[] = [];
  while (reader.next()) {
    if (reader.field === 1) reader.numbersInto(numbers);
    else reader.skip();
  }
  return numbers.map((number) => `${number >>> 16}:${number & 0xffff}`);
}

function largeCommunities(reader: FieldReader): readonly string[] {
  const found: string[] = [];
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const community = reader.inner();
    const parts = [0, 0, 0];
    while (community.next()) {
      if (community.field >= 1 && community.field <= 3) parts[community.field - 1] = community.number();
      else community.skip();
    }
    found.push(parts.join(":"));
  }
  return found;
}
