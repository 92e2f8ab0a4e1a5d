/**
 * Gives a set of labels a number that it has for the whole cluster, by creating its CiliumIdentity. The API server lets only one create an
 * object of a name, so the first to come has the number; there is no other lock.
 *
 * Which number is tried first follows from the labels: nodes that meet a new set at the same moment try the same, and all but one find
 * that it is there. It also brings a set that returns after years back to its number, as long as nobody else has it.
 */
import { TandemError } from "../lib/errors.ts";
import { isStatus, type KubeClient, KubeStatusError, kinds } from "../kube/index.ts";
import { type ClusterIdentity, identityObject, readIdentity } from "./cilium-identity.ts";
import type { NumberRange } from "./record.ts";

/** Numbers that turn out to be taken, after which what is known of the cluster is too old to go on. */
const mostConflicts = 16;

export interface ObtainOptions {
  readonly client: Pick<KubeClient, "create" | "get">;
  readonly range: NumberRange;
  /** By another set of labels, as far as is known. */
  readonly isTaken: (number: number) => boolean;
}

/**
 * @param preferred the number that is in use for them already; null: none is
 * @throws TandemError IDENTITIES_EXHAUSTED, IDENTITY_CONFLICTS; what the client throws
 */
export async function obtainNumber(
  { client, range, isTaken }: ObtainOptions,
  key: string,
  preferred: number | null,
  signal: AbortSignal,
): Promise<ClusterIdentity> {
  let conflicts = 0;
  for (const number of candidates(key, range, preferred)) {
    if (isTaken(number)) continue;
    const identity = await createOrFind(client, number, key, signal);
    if (identity?.key === key) return identity;
    if (++conflicts >= mostConflicts) throw tooManyConflicts(key);
  }
  throw new TandemError({
    code: "IDENTITIES_EXHAUSTED",
    object: "CiliumIdentity",
    message: `all ${range.last - range.first + 1} numbers of this cluster are taken`,
    remedy: "use fewer different sets of pod labels, and see that the operator runs: it deletes those that nobody uses",
  });
}

/** @returns what has that number; null: it came and went meanwhile */
async function createOrFind(
  client: ObtainOptions["client"],
  number: number,
  key: string,
  signal: AbortSignal,
): Promise<ClusterIdentity | null> {
  try {
    return readIdentity(await client.create(kinds.ciliumIdentities, identityObject(number, key), { signal }));
  } catch (error) {
    if (!(error instanceof KubeStatusError && error.reason === "AlreadyExists")) throw error;
  }
  try {
    return readIdentity(await client.get(kinds.ciliumIdentities, { name: String(number) }, { signal }));
  } catch (error) {
    if (isStatus(error, 404)) return null;
    throw error;
  }
}

/** Each number of the range once, from the one that the labels say. */
function* candidates(key: string, { first, last }: NumberRange, preferred: number | null): Iterable<number> {
  if (preferred !== null) yield preferred;
  const size = last - first + 1;
  const start = hash(key) % size;
  for (let step = 0; step < size; step++) yield first + ((start + step) % size);
}

/** FNV-1a with 32 bits (draft-eastlake-fnv), over UTF-16 code units: quick, and the same everywhere. */
function hash(text: string): number {
  let value = 0x81_1c_9d_c5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01_00_01_93);
  return value >>> 0;
}

function tooManyConflicts(key: string): TandemError {
  return new TandemError({
    code: "IDENTITY_CONFLICTS",
    object: key,
    message: `${mostConflicts} numbers that seemed free are taken`,
    remedy: "none needed: it is tried again when the identities of the cluster are known better",
  });
}
