/** CHECK: whether a pod's network still is what ADD made, on both ends and in what the runtime remembers of it. */
import type { NativeBinding } from "../native/contract.ts";
import type { EndpointRecord } from "./endpoint-files.ts";
import { badRequest, CniError, cniCodes } from "./errors.ts";
import type { CheckCall } from "./request.ts";
import { compareLink } from "./wiring.ts";

/** @throws CniError CNI_REQUEST: there is no such attachment; CNI_CHANGED: it differs, with all differences */
export async function checkEndpoint(
  native: NativeBinding,
  record: EndpointRecord | undefined,
  call: CheckCall,
): Promise<void> {
  if (record === undefined || record.row.ifname !== call.ifname) {
    throw badRequest(cniCodes.unknownContainer, `container ${call.containerId}`, `has no ${call.ifname} of Tandem`);
  }
  const { row } = record;
  const problems = [...(await compareLink(native, record, call.netns))];
  for (const [address, bits] of [
    [row.ipv4, 32],
    [row.ipv6, 128],
  ] as const) {
    if (address !== null && !call.previousAddresses.includes(`${address.text}/${bits}`)) {
      problems.push(`prevResult lacks ${address.text}/${bits}`);
    }
  }
  if (problems.length === 0) return;
  throw new CniError({
    code: "CNI_CHANGED",
    cniCode: cniCodes.changed,
    object: `Pod ${row.pod}`,
    message: problems.join("; "),
    remedy: "delete the pod, so that it is made again",
  });
}
