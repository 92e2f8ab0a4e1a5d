/** Sorted arrays with one element for each key. */

/**
 * Where an element is, or would have to be put, by halving.
 * @param compare below 0: the element comes before what is looked for; 0: it is it
 */
export function placeIn<T>(
  sorted: readonly T[],
  compare: (element: T) => number,
): { readonly at: number; readonly found: boolean } {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compare(sorted[middle] as T);
    if (order === 0) return { at: middle, found: true };
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return { at: low, found: false };
}

/** Puts an element in its place, instead of the one of its key. */
export function put<T>(sorted: T[], element: T, compare: (a: T, b: T) => number): void {
  const last = sorted.at(-1);
  // What comes in order needs no search.
  if (last === undefined || compare(last, element) < 0) {
    sorted.push(element);
    return;
  }
  const { at, found } = placeIn(sorted, (each) => compare(each, element));
  sorted.splice(at, found ? 1 : 0, element);
}

/** Takes the element of this key out, if there is one. */
export function take<T>(sorted: T[], compare: (element: T) => number): void {
  const { at, found } = placeIn(sorted, compare);
  if (found) sorted.splice(at, 1);
}
