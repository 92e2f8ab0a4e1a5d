/**
 * What a server that is started again still knows: every change as a line, in the kernel's hands before anybody is answered, so a server
 * that was killed has it too. Opening it writes it anew without what was overwritten.
 */
import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { isObject, type JsonObject } from "./json.ts";
import type { Snapshot, Store } from "./store.ts";

interface Entry {
  readonly revision: number;
  readonly storage: string;
  readonly key: string;
  /** null: it was removed. */
  readonly object: JsonObject | null;
}

/** Gives the store what the journal holds, if there is one, and keeps it from then on. @returns ends it */
export function keepJournal(path: string, store: Store): () => void {
  if (existsSync(path)) store.restore(replay(readFileSync(path, "utf8")));
  const { kinds, revision } = store.snapshot();
  const lines = [...kinds].flatMap(([storage, objects]) =>
    [...objects].map(([key, object]) => line({ revision, storage, key, object })),
  );
  // An empty cluster has a revision, too.
  writeFileSync(`${path}.new`, [line({ revision, storage: "", key: "", object: null }), ...lines].join(""));
  renameSync(`${path}.new`, path);
  const file = openSync(path, "a");
  const stop = store.follow(({ revision, type, storage, key, object }) => {
    writeSync(file, line({ revision, storage, key, object: type === "DELETED" ? null : object }));
  });
  return () => {
    stop();
    closeSync(file);
  };
}

function line(entry: Entry): string {
  return `${JSON.stringify(entry)}\n`;
}

/** A last line that was not written to its end is one that nobody was told of. */
function replay(text: string): Snapshot {
  const kinds = new Map<string, Map<string, JsonObject>>();
  let last = 1;
  for (const entry of text.split("\n").slice(0, -1).map(readEntry)) {
    const { revision, storage, key, object } = entry;
    const objects = kinds.get(storage) ?? new Map<string, JsonObject>();
    if (object === null) objects.delete(key);
    else kinds.set(storage, objects.set(key, object));
    last = Math.max(last, revision);
  }
  return { revision: last, kinds };
}

function readEntry(text: string): Entry {
  const entry: unknown = JSON.parse(text);
  if (isObject(entry) && typeof entry.revision === "number") {
    const { revision, storage, key, object } = entry;
    if (typeof storage === "string" && typeof key === "string")
      return { revision, storage, key, object: isObject(object) ? object : null };
  }
  throw new Error(`a journal has a line that is none of its entries: ${text.slice(0, 80)}`);
}
