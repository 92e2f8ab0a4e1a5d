/**
 * The calls of gobgpd's API that we make, as descriptors made at run time, so that one description serves three packages and no
 * generator is needed. As a .proto file it would say, in each package:
 *
 *     rpc ListPath(ListPathRequest) returns (stream Reply);   // and so on, see `calls`
 *     message Reply { bytes first = 1; bytes second = 2; bytes third = 3; }
 *
 * Every answer of this API holds one message in field 1 (events: 2 or 3). As `bytes` it has the same form on the wire, and is read by
 * `wire.ts`.
 */
import type { DescMessage, DescMethod, MessageInitShape } from "@bufbuild/protobuf";
import { type Field, protobufFile } from "../../lib/protobuf-file.ts";
import { FieldReader } from "./wire.ts";

const messages: Readonly<Record<string, readonly Field[]>> = {
  Reply: [
    ["first", 1, "bytes"],
    ["second", 2, "bytes"],
    ["third", 3, "bytes"],
  ],
  Nothing: [],
  Family: [
    ["afi", 1, "int32"],
    ["safi", 2, "int32"],
  ],
  TableLookupPrefix: [
    ["prefix", 1, "string"],
    ["type", 2, "int32"],
  ],
  TableEventFilter: [["type", 1, "int32"]],
  TableFilter: [["filters", 1, "TableEventFilter", "repeated"]],
  GetBgpRequest: [],
  ListPeerRequest: [["address", 1, "string"]],
  ListPathRequest: [
    ["table_type", 1, "int32"],
    ["name", 2, "string"],
    ["family", 3, "Family"],
    ["prefixes", 4, "TableLookupPrefix", "repeated"],
    ["enable_filtered", 6, "bool"],
  ],
  WatchEventRequest: [
    ["peer", 1, "Nothing"],
    ["table", 2, "TableFilter"],
  ],
  MonitorTableRequest: [
    ["table_type", 1, "int32"],
    ["family", 3, "Family"],
    ["current", 4, "bool"],
  ],
  MonitorPeerRequest: [["current", 2, "bool"]],
  ListPolicyAssignmentRequest: [
    ["name", 1, "string"],
    ["direction", 2, "int32"],
  ],
  ListDefinedSetRequest: [["defined_type", 1, "int32"]],
  DefinedSetRequest: [["defined_set", 1, "bytes"]],
  AddPolicyRequest: [["policy", 1, "bytes"]],
  AddPolicyAssignmentRequest: [["assignment", 1, "bytes"]],
  AddPathRequest: [
    ["table_type", 1, "int32"],
    ["path", 3, "bytes"],
  ],
  DeletePathRequest: [
    ["table_type", 1, "int32"],
    ["family", 3, "Family"],
    ["path", 4, "bytes"],
  ],
};

/** Whether its answer is a stream. */
const calls = {
  GetBgp: false,
  ListPeer: true,
  ListPath: true,
  WatchEvent: true,
  MonitorTable: true,
  MonitorPeer: true,
  ListPolicyAssignment: true,
  ListDefinedSet: true,
  AddPath: false,
  DeletePath: false,
  AddDefinedSet: false,
  AddPolicy: false,
  AddPolicyAssignment: false,
  DeleteDefinedSet: false,
} as const;

/** Two calls that take the same. */
const requestNames: Readonly<Record<string, string>> = {
  AddDefinedSet: "DefinedSetRequest",
  DeleteDefinedSet: "DefinedSetRequest",
};

export type Call = keyof typeof calls;
export type Methods = Readonly<Record<Call, DescMethod>>;
export type Request = MessageInitShape<DescMessage>;

/** One answer, or one message of a stream. Not set: empty. */
export interface Reply {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
  readonly third: Uint8Array;
}

/** @throws WireError */
export function readReply(bytes: Buffer): Reply {
  let [first, second, third]: [Uint8Array, Uint8Array, Uint8Array] = [nothing, nothing, nothing];
  const reader = new FieldReader(bytes);
  while (reader.next()) {
    if (reader.field === 1) first = reader.bytes();
    else if (reader.field === 2) second = reader.bytes();
    else if (reader.field === 3) third = reader.bytes();
    else reader.skip();
  }
  return { first, second, third };
}

const nothing = new Uint8Array(0);

/** @param service "apipb.GobgpApi" */
export function methodsOf(service: string): Methods {
  const registry = protobufFile({
    service,
    messages,
    methods: Object.entries(calls).map(([name, isStream]) => ({
      name,
      input: requestNames[name] ?? `${name}Request`,
      output: "Reply",
      serverStreaming: isStream,
    })),
  });
  const methods = registry.getService(service)?.methods ?? [];
  return Object.fromEntries(methods.map((method) => [method.name, method])) as unknown as Methods;
}
