/** Paths and destinations from and to the wire. */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { makePrefix, parseAddress, type Prefix } from "../../model/ip.ts";
import { attributeField, AttributeReader, readAny, writeAny, writeAttribute } from "./attributes.ts";
import { WireError } from "./errors.ts";
import { family as families } from "./protocol.ts";
import type { Announcement, Path } from "./types.ts";
import { UnreadablePaths } from "./unreadable.ts";
import { FieldReader } from "./wire.ts";

const safiUnicast = 1;
/** Of an event: about a ms of work. */
const pathsPerPart = 128;
/** Version 3 writes the absent address of a path of its own as Go prints a nil one. */
const noPeer: ReadonlySet<string> = new Set(["", "<nil>"]);

export class PathReader {
  readonly #typed: boolean;
  readonly #unreadable: UnreadablePaths;
  readonly #attributes = new AttributeReader();

  /**
   * @param typed NLRI and attributes are messages of their own; else Any
   * @param unreadable is told of paths that are left out
   */
  constructor(typed: boolean, unreadable = new UnreadablePaths()) {
    this.#typed = typed;
    this.#unreadable = unreadable;
  }

  /** A Destination: all paths to one prefix. Those of other families than unicast IPv4 and IPv6 are left out. */
  destination(bytes: Uint8Array): readonly Path[] {
    return this.#paths(bytes);
  }

  /**
   * WatchEventResponse.TableEvent, whose paths have the same field as those of a destination. It may hold a whole table: it is read in parts, each when
   * it is asked for.
   */
  *tableEvent(bytes: Uint8Array): Generator<readonly Path[]> {
    const reader = new FieldReader(bytes);
    for (;;) {
      const paths = this.#some(reader, pathsPerPart);
      if (paths.length > 0) yield paths;
      if (paths.length < pathsPerPart) return;
    }
  }

  #paths(bytes: Uint8Array): readonly Path[] {
    return this.#some(new FieldReader(bytes), Number.POSITIVE_INFINITY);
  }

  #some(reader: FieldReader, most: number): readonly Path[] {
    const paths: Path[] = [];
    while (paths.length < most && reader.next()) {
      if (reader.field !== 2) {
        reader.skip();
        continue;
      }
      const path = this.#noted(reader.inner());
      if (path !== null) paths.push(path);
    }
    return paths;
  }

  /** null also: it cannot be read, which is noted. */
  path(bytes: Uint8Array): Path | null {
    return this.#noted(new FieldReader(bytes));
  }

  #noted(reader: FieldReader): Path | null {
    try {
      const path = this.#path(reader);
      if (path !== null) this.#unreadable.forget(path.prefix.text);
      return path;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#unreadable.note(this.#prefixOf(reader.again()), error.message);
      return null;
    }
  }

  /** Of a path that breaks off somewhere: "" where it does so before its prefix. */
  #prefixOf(reader: FieldReader): string {
    try {
      while (reader.next()) {
        if (reader.field === 1) return this.#prefix(reader.inner())?.text ?? "";
        reader.skip();
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
    return "";
  }

  /** null: of another family, or without a prefix that could be one. @throws WireError */
  #path(reader: FieldReader): Path | null {
    let nlri: FieldReader | null = null;
    let family: { readonly afi: number; readonly safi: number } | null = null;
    // Attributes follow each other, as fields are written in their order; whatever else would stand between them is skipped.
    let [from, end] = [-1, -1];
    let before = reader.at;
    let best = false;
    let withdrawn = false;
    let stale = false;
    let filtered = false;
    let neighbor = "";
    while (reader.next()) {
      switch (reader.field) {
        case 1:
          nlri = reader.inner();
          break;
        case attributeField:
          reader.inner();
          if (from < 0) from = before;
          end = reader.at;
          break;
        case 4:
          best = reader.flag();
          break;
        case 5:
          withdrawn = reader.flag();
          break;
        case 9:
          family = readFamily(reader.inner());
          break;
        case 12:
          filtered = reader.flag();
          break;
        case 13:
          stale = reader.flag();
          break;
        case 15:
          neighbor = reader.text();
          break;
        default:
          reader.skip();
      }
      before = reader.at;
    }
    if (nlri === null || family?.safi !== safiUnicast) return null;
    const prefix = this.#prefix(nlri);
    if (prefix === null || families[prefix.family].afi !== family.afi) return null;
    const peer = noPeer.has(neighbor) ? null : this.#attributes.address(neighbor);
    const attributes = this.#attributes.read(reader.buffer.subarray(from, end), this.#typed);
    // Each by its name: copying them with a spread takes longer than all of the reading.
    return {
      prefix,
      nextHop: attributes.nextHop,
      asPath: attributes.asPath,
      localPref: attributes.localPref,
      med: attributes.med,
      communities: attributes.communities,
      largeCommunities: attributes.largeCommunities,
      originatorId: attributes.originatorId,
      clusterList: attributes.clusterList,
      others: attributes.others,
      best,
      withdrawn,
      stale,
      filtered,
      peer,
    };
  }

  #prefix(nlri: FieldReader): Prefix | null {
    if (!this.#typed) {
      const { name, value } = readAny(nlri);
      return name === "IPAddressPrefix" ? readPrefix(value) : null;
    }
    let prefix: Prefix | null = null;
    while (nlri.next()) {
      if (nlri.field === 1) prefix = readPrefix(nlri.inner());
      else nlri.skip();
    }
    return prefix;
  }
}

function readFamily(reader: FieldReader): { readonly afi: number; readonly safi: number } {
  let [afi, safi] = [0, 0];
  while (reader.next()) {
    if (reader.field === 1) afi = reader.number();
    else if (reader.field === 2) safi = reader.number();
    else reader.skip();
  }
  return { afi, safi };
}

function readPrefix(reader: FieldReader): Prefix | null {
  let [length, text] = [0, ""];
  while (reader.next()) {
    if (reader.field === 1) length = reader.number();
    else if (reader.field === 2) text = reader.text();
    else reader.skip();
  }
  const address = parseAddress(text);
  if (address === null || length > address.bytes.length * 8) return null;
  return makePrefix(address, length);
}

/** AS_SEQUENCE (RFC 4271, 4.3 b). */
const asSequence = 2;

/** @param anyPackage null: this version's messages are typed */
export function writePath(announcement: Announcement, anyPackage: string | null): Uint8Array {
  const { prefix, nextHop, communities = [], largeCommunities = [], asPath = [], localPref, med } = announcement;
  const attribute = (kind: Parameters<typeof writeAttribute>[0], value: Uint8Array) =>
    writeAttribute(kind, value, anyPackage);
  const nlri = writeNlri(prefix, anyPackage);
  const attributes = [attribute("origin", new Uint8Array(0))];
  if (asPath.length > 0) {
    const segment = new BinaryWriter().tag(1, WireType.Varint).int32(asSequence);
    segment.tag(2, WireType.LengthDelimited).fork();
    for (const number of asPath) segment.uint32(number >>> 0);
    attributes.push(attribute("as-path", lengthField(1).bytes(segment.join().finish()).finish()));
  }
  if (prefix.family === 4) {
    attributes.push(attribute("next-hop", lengthField(1).string(nextHop.text).finish()));
  } else {
    const reach = lengthField(1).bytes(writeFamily(prefix.family));
    reach.tag(2, WireType.LengthDelimited).string(nextHop.text).tag(3, WireType.LengthDelimited).bytes(nlri);
    attributes.push(attribute("mp-reach", reach.finish()));
  }
  if (med !== undefined)
    attributes.push(attribute("med", new BinaryWriter().tag(1, WireType.Varint).uint32(med).finish()));
  if (localPref !== undefined)
    attributes.push(attribute("local-pref", new BinaryWriter().tag(1, WireType.Varint).uint32(localPref).finish()));
  if (communities.length > 0) {
    const packed = lengthField(1).fork();
    for (const community of communities) packed.uint32(community >>> 0);
    attributes.push(attribute("communities", packed.join().finish()));
  }
  if (largeCommunities.length > 0) {
    const list = new BinaryWriter();
    for (const parts of largeCommunities) {
      const one = new BinaryWriter();
      for (const [at, part] of parts.entries()) one.tag(at + 1, WireType.Varint).uint32(part >>> 0);
      list.tag(1, WireType.LengthDelimited).bytes(one.finish());
    }
    attributes.push(attribute("large-communities", list.finish()));
  }
  const writer = lengthField(1).bytes(nlri);
  for (const bytes of attributes) writer.tag(2, WireType.LengthDelimited).bytes(bytes);
  return writer.tag(9, WireType.LengthDelimited).bytes(writeFamily(prefix.family)).finish();
}

function writeNlri({ address, length }: Prefix, anyPackage: string | null): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.Varint).uint32(length);
  const value = writer.tag(2, WireType.LengthDelimited).string(address.text).finish();
  return anyPackage === null ? lengthField(1).bytes(value).finish() : writeAny(`${anyPackage}.IPAddressPrefix`, value);
}

function writeFamily(version: 4 | 6): Uint8Array {
  const { afi, safi } = families[version];
  return new BinaryWriter().tag(1, WireType.Varint).uint32(afi).tag(2, WireType.Varint).uint32(safi).finish();
}

const lengthField = (field: number) => new BinaryWriter().tag(field, WireType.LengthDelimited);
