/** Entries of `fromNodes` and `toNodes`, `toFQDNs`, `fromGroups` and `toGroups`. */
import { fieldNames } from "../../lib/schema.ts";
import { isWhole, namePattern } from "../../model/dns-names.ts";
import { dnsNameSchema } from "./cilium-requests-schema.ts";
import { type Place, readFields, refuse, warn } from "./fields.ts";
import { readNamePattern } from "./read-cilium-l7.ts";
import { ciliumKeys, readSelector } from "./read-selector.ts";
import type { Peer } from "./rules.ts";

/** Keys of Node objects' labels, also with the source that Cilium's own labels of nodes have. */
export const nodeKeys: typeof ciliumKeys = {
  pattern: ciliumKeys.pattern,
  translate: (key) => ciliumKeys.translate(key).replace(/^node:/, ""),
};

export function readNodesPeer(value: unknown, place: Place): Peer | null {
  if (value === null) {
    refuse(place, "POLICY_TYPE", "the selector is empty", "write {} to select every other node, or matchLabels");
    return null;
  }
  const selector = readSelector(value, place, nodeKeys);
  return selector === null ? null : { kind: "nodes", selector };
}

export function readNamesPeer(value: unknown, place: Place): Peer | null {
  const fields = readFields(value, place, fieldNames(dnsNameSchema));
  if (fields === null) {
    if (value === null) refuse(place, "POLICY_TYPE", "the entry is empty", "write matchName or matchPattern");
    return null;
  }
  const kind = readNamePattern(fields, place);
  if (kind === null) return null;
  const pattern = namePattern(kind, String(kind === "name" ? fields.matchName : fields.matchPattern));
  if (!isWhole(pattern)) {
    const message = "unless dnsMode is proxy, only names that some policy of the node writes whole are known";
    const remedy =
      "set dnsMode: proxy and allow the lookups by rules.dns, or write the names themselves in matchName too";
    warn(place, "POLICY_NAMES_PENDING", message, remedy);
  }
  return { kind: "names", pattern };
}

/** Security groups of a cloud: nobody here asks a cloud, so a policy that counts on it is no policy. */
export function refuseCloudGroup(_value: unknown, place: Place): null {
  const message = "groups of a cloud are not supported: nobody here knows their addresses";
  refuse(
    place,
    "POLICY_UNSUPPORTED",
    message,
    "name the addresses in a CIDR set, or in a CiliumCIDRGroup that you keep",
  );
  return null;
}
