/** The last answers' times of one path, and how they are distributed: a bounded ring, as a node has a few paths to each of thousands. */

/** Answers that are remembered: five minutes of one every 5 s. */
const size = 64;

export class Latencies {
  /** µs; made with the first answer. */
  #ring: Float32Array | null = null;
  #count = 0;

  add(us: number): void {
    this.#ring ??= new Float32Array(size);
    this.#ring[this.#count++ % size] = us;
  }

  /** Nearest rank: the least time that so many of a hundred answers did not exceed, µs. null: there was no answer. @param share 0..1 */
  percentile(share: number): number | null {
    const known = Math.min(this.#count, size);
    if (this.#ring === null || known === 0) return null;
    const sorted = this.#ring.slice(0, known).sort();
    return sorted[Math.max(0, Math.ceil(share * known) - 1)] ?? null;
  }
}
