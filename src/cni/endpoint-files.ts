/**
 * What ADD made, one file per endpoint: <stateDir>/cni/<containerId>.json. The only record: addresses and numbers in use are
 * those of the files. A file is complete or absent (written aside, synced, renamed), whenever the power goes.
 */
import { mkdir, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type Address, parseAddress } from "../model/ip.ts";
import type { LocalEndpointRow } from "../model/tables.ts";
import { CniError, cniCodes, describe } from "./errors.ts";

/** The table's row and what only DEL, CHECK and a restart need. */
export interface EndpointRecord {
  readonly row: LocalEndpointRow;
  /** `name` of the network configuration, for GC. */
  readonly network: string;
  readonly hostDevice: string;
  readonly mtu: number;
  /** ms since the epoch. */
  readonly created: number;
}

const suffix = ".json";
const mac = z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);

const schema = z.object({
  version: z.literal(1),
  pod: z.string(),
  uid: z.string().nullable(),
  containerId: z.string(),
  id: z.int().min(1).max(65535),
  ifindex: z.int().positive(),
  ifname: z.string(),
  netns: z.string(),
  ipv4: z.ipv4().nullable(),
  ipv6: z.ipv6().nullable(),
  podMac: mac,
  hostMac: mac,
  // Files of agents that had no such option do not have it.
  policyAuditMode: z.boolean().nullable().default(null),
  network: z.string(),
  hostDevice: z.string(),
  mtu: z.int().positive(),
  created: z.number(),
});

export class EndpointFiles {
  readonly #folder: string;

  constructor(stateDir: string) {
    this.#folder = join(stateDir, "cni");
  }

  async prepare(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
  }

  /** All records in the order they were made, and the files that cannot be understood (which stay where they are). */
  async read(): Promise<{
    readonly records: readonly EndpointRecord[];
    readonly unreadable: readonly { readonly containerId: string; readonly path: string; readonly reason: string }[];
  }> {
    const records: EndpointRecord[] = [];
    const unreadable: { containerId: string; path: string; reason: string }[] = [];
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (name.startsWith(".")) {
        // A write that a crash cut short: its ADD has not succeeded. On a disk that takes no writes it stays, and means nothing.
        await unlink(path).catch(() => undefined);
        continue;
      }
      if (!name.endsWith(suffix)) continue;
      const containerId = name.slice(0, -suffix.length);
      try {
        const record = decode(await readFile(path, "utf8"));
        if (record.row.containerId !== containerId) throw new Error(`it is about container ${record.row.containerId}`);
        records.push(record);
      } catch (error) {
        unreadable.push({ containerId, path, reason: describe(error) });
      }
    }
    return { records: records.sort((a, b) => a.created - b.created), unreadable };
  }

  /** Durable when the promise resolves. @throws CniError STATE_DIR */
  async write(record: EndpointRecord): Promise<void> {
    try {
      await this.#write(record);
    } catch (cause) {
      throw new CniError({
        code: "STATE_DIR",
        cniCode: cniCodes.ioFailure,
        object: join(this.#folder, record.row.containerId + suffix),
        message: `the endpoint of Pod ${record.row.pod} cannot be written: ${describe(cause)}`,
        remedy: "make the folder writable and free some space, or set another `stateDir`; the runtime tries again",
        cause,
      });
    }
  }

  async #write(record: EndpointRecord): Promise<void> {
    const name = record.row.containerId + suffix;
    const temporary = join(this.#folder, `.${name}`);
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(encode(record));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(this.#folder, name));
    await this.#syncFolder();
  }

  /** Missing is no error. Not synced: a file that comes back after a power cut has no device, and `restore` drops it. */
  async remove(containerId: string): Promise<void> {
    for (const name of [containerId + suffix, `.${containerId}${suffix}`]) {
      await unlink(join(this.#folder, name)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
    }
  }

  async #syncFolder(): Promise<void> {
    const folder = await open(this.#folder, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

function encode(record: EndpointRecord): string {
  const { row, ...rest } = record;
  const file: z.infer<typeof schema> = {
    version: 1,
    ...rest,
    ...row,
    ipv4: row.ipv4?.text ?? null,
    ipv6: row.ipv6?.text ?? null,
  };
  return `${JSON.stringify(file)}\n`;
}

function decode(text: string): EndpointRecord {
  const parsed = schema.safeParse(JSON.parse(text));
  if (!parsed.success)
    throw new Error(parsed.error.issues.map((one) => `${one.path.join(".")}: ${one.message}`).join("; "));
  const { version: _version, network, hostDevice, mtu, created, ...row } = parsed.data;
  return {
    row: { ...row, ipv4: decodeAddress(row.ipv4), ipv6: decodeAddress(row.ipv6) },
    network,
    hostDevice,
    mtu,
    created,
  };
}

function decodeAddress(text: string | null): Address | null {
  if (text === null) return null;
  const address = parseAddress(text);
  if (address === null) throw new Error(`${JSON.stringify(text)} is not an address`);
  return address;
}
