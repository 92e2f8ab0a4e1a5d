/** Remembers the last answer, for as long as it is asked with the same objects: tables are replaced when they change, never written to. */

export type Memo<A extends readonly unknown[], R> = (...parts: A) => R;

/** @param lasts whether an answer may be remembered */
export function memo<A extends readonly unknown[], R>(
  compute: (...parts: A) => R,
  lasts: (result: R) => boolean = () => true,
): Memo<A, R> {
  let last: { readonly parts: A; readonly result: R } | null = null;
  return (...parts) => {
    if (last === null || !lasts(last.result) || last.parts.some((part, index) => part !== parts[index])) {
      last = { parts, result: compute(...parts) };
    }
    return last.result;
  };
}
