/**
 * A policy of our own beside kube-router's, which lets out paths to the prefixes of our own sets where this speaker made them itself: kube-router's
 * default is to let out nothing that it does not know, and what other nodes announce is theirs to let out. Wire forms of gobgp.proto.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { parsePrefix, type Prefix } from "../../model/ip.ts";
import { policyDirections, type Protocol } from "./protocol.ts";

export const exportPolicy = "tandem_services";
export const exportSets = { 4: "tandem_services", 6: "tandem_services6" } as const;

/** A set without prefixes matches everything: each has one that nobody announces (RFC 5737, RFC 6666). */
export const placeholders: Readonly<Record<4 | 6, readonly Prefix[]>> = {
  4: [parsePrefix("192.0.2.255/32")].flatMap((prefix) => prefix ?? []),
  6: [parsePrefix("100::/128")].flatMap((prefix) => prefix ?? []),
};

/** Conditions.RouteType.LOCAL, RouteAction.ACCEPT: the same in all versions. */
const [local, accept] = [3, 1] as const;

const text = (writer: BinaryWriter, field: number, value: string) =>
  writer.tag(field, WireType.LengthDelimited).string(value);
const number = (writer: BinaryWriter, field: number, value: number) => writer.tag(field, WireType.Varint).int32(value);

/** Policy, with a statement for each family. */
export function writeExportPolicy({ matchAny }: Pick<Protocol, "matchAny">): Uint8Array {
  const policy = text(new BinaryWriter(), 1, exportPolicy);
  for (const set of Object.values(exportSets)) {
    const match = text(number(new BinaryWriter(), 1, matchAny), 2, set).finish();
    const conditions = number(new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(match), 8, local).finish();
    const actions = number(new BinaryWriter(), 1, accept).finish();
    const statement = text(new BinaryWriter(), 1, set);
    statement.tag(2, WireType.LengthDelimited).bytes(conditions).tag(3, WireType.LengthDelimited).bytes(actions);
    policy.tag(2, WireType.LengthDelimited).bytes(statement.finish());
  }
  return policy.finish();
}

/** PolicyAssignment of the global table: behind those that are there, and the default as it is. */
export function writeExportAssignment(): Uint8Array {
  const named = text(new BinaryWriter(), 1, exportPolicy).finish();
  const assignment = number(text(new BinaryWriter(), 1, "global"), 2, policyDirections.export);
  return assignment.tag(4, WireType.LengthDelimited).bytes(named).finish();
}
