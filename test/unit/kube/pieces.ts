/** A stream as the network cuts it. */

/** @param sizes of the first pieces, in turns; what is left is the last one */
export function cut(whole: Buffer, sizes: readonly number[]): readonly Buffer[] {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const size of sizes) {
    pieces.push(whole.subarray(from, from + size));
    from += size;
  }
  return [...pieces, whole.subarray(Math.min(from, whole.length))];
}
