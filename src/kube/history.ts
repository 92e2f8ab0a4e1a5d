/**
 * Whether the API server still has the history that its watches are of. An etcd that was restored from a backup gives versions a second time, and to a watch from
 * a version that it has not reached yet an API server says nothing, not even a bookmark: what changes meanwhile would not be heard of.
 *
 * The version of one object grows with every write, also when it is deleted and made anew, and reads of one object are of now. So whoever
 * writes to the same object all the time, as to a Lease, learns of it with the answer, for no request.
 */
import { isOlder } from "./objects.ts";

export class VersionMemory {
  #newest = "";

  /**
   * To be told of each answer about that object, in the order of the requests.
   * @returns whether it is older than one before: this is another history. From then on that one counts.
   */
  wentBack(version: string | undefined): boolean {
    if (version === undefined) return false;
    const went = isOlder(version, this.#newest);
    this.#newest = version;
    return went;
  }
}
