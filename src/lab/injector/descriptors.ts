/**
 * The part of gobgp's gRPC API that kube-router's route injection needs: version 3, package apipb (`api/gobgp.proto` and
 * `api/attribute.proto` of GoBGP 3.10). Not the agent's client (`sources/gobgp`): what plays kube-router takes nothing from what is tried against it.
 */
import type { DescMethodStreaming, DescMethodUnary } from "@bufbuild/protobuf";
import { type Field, protobufFile } from "../../lib/protobuf-file.ts";

const messages: Readonly<Record<string, readonly Field[]>> = {
  // google.protobuf.Any under a name of our own, so that its value stays bytes.
  AnyBytes: [
    ["type_url", 1, "string"],
    ["value", 2, "bytes"],
  ],
  Family: [
    ["afi", 1, "int32"],
    ["safi", 2, "int32"],
  ],
  IPAddressPrefix: [
    ["prefix_len", 1, "uint32"],
    ["prefix", 2, "string"],
  ],
  OriginAttribute: [["origin", 1, "uint32"]],
  NextHopAttribute: [["next_hop", 1, "string"]],
  MpReachNLRIAttribute: [
    ["family", 1, "Family"],
    ["next_hops", 2, "string", "repeated"],
    ["nlris", 3, "AnyBytes", "repeated"],
  ],
  Path: [
    ["nlri", 1, "AnyBytes"],
    ["pattrs", 2, "AnyBytes", "repeated"],
    ["is_withdraw", 5, "bool"],
    ["family", 9, "Family"],
    ["neighbor_ip", 15, "string"],
  ],
  AddPathRequest: [
    ["table_type", 1, "int32"],
    ["path", 3, "Path"],
  ],
  AddPathResponse: [["uuid", 1, "bytes"]],
  PeerFilter: [],
  TableEventFilter: [
    ["type", 1, "int32"],
    ["init", 2, "bool"],
  ],
  TableFilter: [["filters", 1, "TableEventFilter", "repeated"]],
  WatchEventRequest: [
    ["peer", 1, "PeerFilter"],
    ["table", 2, "TableFilter"],
  ],
  TableEvent: [["paths", 2, "Path", "repeated"]],
  WatchEventResponse: [["table", 3, "TableEvent"]],
};

const service = "apipb.GobgpApi";
const registry = protobufFile({
  service,
  messages,
  methods: [
    { name: "AddPath", input: "AddPathRequest", output: "AddPathResponse", serverStreaming: false },
    { name: "WatchEvent", input: "WatchEventRequest", output: "WatchEventResponse", serverStreaming: true },
  ],
});

export function messageType(name: string) {
  const found = registry.getMessage(`apipb.${name}`);
  if (found === undefined) throw new Error(`no message ${name} in the descriptors`);
  return found;
}

function method(name: string) {
  const found = registry.getService(service)?.methods.find((m) => m.name === name);
  if (found === undefined) throw new Error(`no method ${name} in the descriptors`);
  return found;
}

export const addPathMethod = method("AddPath") as DescMethodUnary;
export const watchEventMethod = method("WatchEvent") as DescMethodStreaming;
