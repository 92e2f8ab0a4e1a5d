/**
 * What is in force must survive an agent that ends, also where its source says something broken when the next one starts: the last
 * good version of each thing is kept beyond the process. There are two such memories, each with one owner that decides what is
 * good and says what it goes by when something is not:
 *   sources/files    a manifest that is no YAML, an object that has an error: whole rows, per manifest
 *   compute/policy   a policy that is well written but says nothing that can be enforced: its last valid row, per policy
 * Both hand on every good version as it comes, not only when a bad one follows: a manifest may be broken while no agent looks.
 */
export interface LastGood<T> {
  /** What was kept, by name. @throws TandemError STATE_DIR when it cannot be known: then nothing may be taken for gone */
  read(): Promise<ReadonlyMap<string, T>>;
  /** From now on these are kept and no others; objects that are the same as before cost nothing. Returns before it is done. */
  keep(versions: ReadonlyMap<string, T>): void;
}
