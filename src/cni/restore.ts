/** Compares the endpoints with the kernel's devices, at the start of the agent and from time to time. The kernel is the truth. */
import { rename } from "node:fs/promises";
import type { Logger } from "../model/logging.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { LinkRow } from "../native/netlink-contract.ts";
import type { EndpointFiles, EndpointRecord } from "./endpoint-files.ts";
import { describe } from "./errors.ts";
import { deleteLinks } from "./wiring.ts";
import { aliasOf, hostChanges, isPodDevice } from "./wiring-plan.ts";

/**
 * Returns the endpoints that are whole, oldest first, with the host's routes and neighbours written again. Deletes files
 * without their device (the node was restarted, the namespace is gone) and devices without a file (a crash in mid-ADD: the runtime
 * was never told of success). A file that cannot be read is put aside and its pod cut off: better closed than without policy. A disk that takes no
 * writes keeps such files, and no agent from starting: the next start finds them the same.
 */
export async function reconcileWithKernel(options: {
  readonly native: NativeBinding;
  readonly files: EndpointFiles;
  readonly log: Logger;
}): Promise<readonly EndpointRecord[]> {
  const { native, files, log } = options;
  const { records, unreadable } = await files.read();
  for (const { path, containerId, reason } of unreadable) {
    await rename(path, `${path}.broken`).catch(stays(path, log));
    log.error({ path, containerId, reason }, "an endpoint file is unreadable and kept as .broken; delete its pod");
  }
  const devices = new Map((await native.links(null)).filter(isPodDevice).map((link) => [link.name, link]));
  const kept: EndpointRecord[] = [];
  for (const record of records) {
    if (isDeviceOf(devices.get(record.hostDevice), record)) {
      kept.push(record);
      devices.delete(record.hostDevice);
    } else {
      const { containerId } = record.row;
      await files.remove(containerId).catch(stays(containerId, log));
      log.info({ pod: record.row.pod, device: record.hostDevice }, "endpoint dropped: its device is gone");
    }
  }
  if (devices.size > 0) {
    const names = [...devices.keys()];
    await deleteLinks(native, [...devices.values()]);
    log.warn({ devices: names }, "devices without an endpoint deleted");
  }
  const changes = kept.flatMap(hostChanges);
  for (const failure of changes.length === 0 ? [] : await native.applyNetlink(null, changes)) {
    const change = changes[failure.at];
    log.error({ kind: change?.kind, op: change?.op, code: failure.code }, "a pod's host end could not be repaired");
  }
  return kept;
}

function stays(object: string, log: Logger): (error: unknown) => void {
  return (error) => log.warn({ object, error: describe(error) }, "a file of an endpoint that is no more stays");
}

/** Those of the records whose device is not there (any more). */
export async function withoutDevice(
  native: Pick<NativeBinding, "links">,
  records: readonly EndpointRecord[],
): Promise<readonly EndpointRecord[]> {
  const devices = new Map((await native.links(null)).filter(isPodDevice).map((link) => [link.name, link]));
  return records.filter((record) => !isDeviceOf(devices.get(record.hostDevice), record));
}

/** The name alone is not enough: the device may have been made again, for another pod even. */
function isDeviceOf(link: LinkRow | undefined, record: EndpointRecord): boolean {
  if (link === undefined || link.index !== record.row.ifindex) return false;
  return link.alias === aliasOf(record.row.pod);
}
