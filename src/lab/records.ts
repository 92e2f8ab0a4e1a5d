/** Which labs there are: a record per lab, an index of its own for each (addresses follow from it), and locks for who changes what. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BgpOptions } from "./bgp-config.ts";
import type { ApiServerSource } from "./kube/source.ts";
import { LabError } from "./errors.ts";
import { writeAtomically } from "./files.ts";
import { type LabRecord, labsFolder, maxLabs } from "./plan.ts";

export interface StoredLab extends LabRecord, BgpOptions {
  /** Additions to every agent's configuration. */
  readonly agent: Readonly<Record<string, unknown>>;
  /** Where its objects are; left out: in files. */
  readonly api?: ApiServerSource;
  /** Where its Nodes are, beside the files. */
  readonly nodesApi?: ApiServerSource;
}

const indexFolder = join(labsFolder, "index");
const recordFile = "lab.json";

/** Runs `work` while no other process works under that name. flock(2): a process that dies lets go. */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  await mkdir(indexFolder, { recursive: true });
  const holder = spawn("flock", [join(indexFolder, `${name}.lock`), "sh", "-c", "echo; read _"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const closed = once(holder, "close");
  await Promise.race([once(holder.stdout, "data"), closed]);
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await closed;
  }
}

export async function readStoredLab(name: string): Promise<StoredLab | null> {
  try {
    return JSON.parse(await readFile(join(labsFolder, name, recordFile), "utf8")) as StoredLab;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Names of labs that have a folder, whether they are up or half gone. */
export async function labNames(): Promise<readonly string[]> {
  const entries = await readdir(labsFolder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory() && entry.name !== "index").map((entry) => entry.name);
}

/** Takes a free index and writes the record, so that from now on `down` knows of it. @throws LabError LAB_EXISTS, LAB_FULL */
export function claimLab(lab: Omit<StoredLab, "index">): Promise<StoredLab> {
  return withLock("claim", async () => {
    const names = await labNames();
    if (names.includes(lab.name)) {
      throw new LabError(
        "LAB_EXISTS",
        `lab ${lab.name}`,
        "is there already",
        `tandem lab down --name ${lab.name}, or another --name`,
      );
    }
    const used = new Set((await Promise.all(names.map(readStoredLab))).map((other) => other?.index));
    const index = Array.from({ length: maxLabs }, (_, i) => i).find((i) => !used.has(i));
    if (index === undefined) throw new LabError("LAB_FULL", labsFolder, `${maxLabs} labs are up`, "take one down");
    const stored = { ...lab, index };
    await mkdir(join(labsFolder, lab.name));
    await writeAtomically(join(labsFolder, lab.name, recordFile), JSON.stringify(stored, null, 2));
    return stored;
  });
}
