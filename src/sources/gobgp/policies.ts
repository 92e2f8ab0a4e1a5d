/** Policies and the sets that they speak of from the wire: read only, since kube-router writes them. */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Prefix } from "../../model/ip.ts";
import type { DefinedSet, Policy, PolicyAssignment, PolicyStatement } from "./types.ts";
import { FieldReader } from "./wire.ts";

const actions: Readonly<Record<number, PolicyStatement["action"]>> = { 1: "accept", 2: "reject" };

export function readAssignment(bytes: Uint8Array): PolicyAssignment {
  const reader = new FieldReader(bytes);
  const policies: Policy[] = [];
  let [direction, defaultAction] = [0, 0];
  while (reader.next()) {
    if (reader.field === 2) direction = reader.number();
    else if (reader.field === 4) policies.push(readPolicy(reader.bytes()));
    else if (reader.field === 5) defaultAction = reader.number();
    else reader.skip();
  }
  return {
    direction: direction === 1 ? "import" : "export",
    policies,
    defaultAction: actions[defaultAction] ?? "none",
  };
}

function readPolicy(bytes: Uint8Array): Policy {
  const reader = new FieldReader(bytes);
  const statements: PolicyStatement[] = [];
  let name = "";
  while (reader.next()) {
    if (reader.field === 1) name = reader.text();
    else if (reader.field === 2) statements.push(readStatement(reader.bytes()));
    else reader.skip();
  }
  return { name, statements };
}

function readStatement(bytes: Uint8Array): PolicyStatement {
  const reader = new FieldReader(bytes);
  let name = "";
  let sets: Pick<PolicyStatement, "prefixSet" | "neighborSet"> = { prefixSet: null, neighborSet: null };
  let action: PolicyStatement["action"] = "none";
  while (reader.next()) {
    if (reader.field === 1) name = reader.text();
    else if (reader.field === 2) sets = readConditions(reader.bytes());
    else if (reader.field === 3) action = readActions(reader.bytes());
    else reader.skip();
  }
  return { name, ...sets, action };
}

function readConditions(bytes: Uint8Array): Pick<PolicyStatement, "prefixSet" | "neighborSet"> {
  const reader = new FieldReader(bytes);
  let [prefixSet, neighborSet]: [string | null, string | null] = [null, null];
  while (reader.next()) {
    if (reader.field === 1) prefixSet = readMatch(reader.bytes());
    else if (reader.field === 2) neighborSet = readMatch(reader.bytes());
    else reader.skip();
  }
  return { prefixSet, neighborSet };
}

function readMatch(bytes: Uint8Array): string {
  const reader = new FieldReader(bytes);
  let name = "";
  while (reader.next()) {
    if (reader.field === 2) name = reader.text();
    else reader.skip();
  }
  return name;
}

function readActions(bytes: Uint8Array): PolicyStatement["action"] {
  const reader = new FieldReader(bytes);
  let action = 0;
  while (reader.next()) {
    if (reader.field === 1) action = reader.number();
    else reader.skip();
  }
  return actions[action] ?? "none";
}

export function readDefinedSet(bytes: Uint8Array): DefinedSet {
  const reader = new FieldReader(bytes);
  const prefixes: DefinedSet["prefixes"][number][] = [];
  const list: string[] = [];
  let name = "";
  while (reader.next()) {
    if (reader.field === 2) name = reader.text();
    else if (reader.field === 3) list.push(reader.text());
    else if (reader.field === 4) prefixes.push(readRange(reader.bytes()));
    else reader.skip();
  }
  return { name, prefixes, list };
}

function readRange(bytes: Uint8Array): DefinedSet["prefixes"][number] {
  const reader = new FieldReader(bytes);
  let [prefix, least, most] = ["", 0, 0];
  while (reader.next()) {
    if (reader.field === 1) prefix = reader.text();
    else if (reader.field === 2) least = reader.number();
    else if (reader.field === 3) most = reader.number();
    else reader.skip();
  }
  return { prefix, least, most };
}

/** A set of prefixes that match with their own length alone. @param kind number of prefix sets in this version */
export function writePrefixSet(kind: number, name: string, prefixes: readonly Prefix[]): Uint8Array {
  const writer = new BinaryWriter();
  // Zero is how proto3 says nothing.
  if (kind !== 0) writer.tag(1, WireType.Varint).int32(kind);
  writer.tag(2, WireType.LengthDelimited).string(name);
  for (const { text, length } of prefixes) {
    const one = new BinaryWriter().tag(1, WireType.LengthDelimited).string(text);
    one.tag(2, WireType.Varint).uint32(length).tag(3, WireType.Varint).uint32(length);
    writer.tag(4, WireType.LengthDelimited).bytes(one.finish());
  }
  return writer.finish();
}
