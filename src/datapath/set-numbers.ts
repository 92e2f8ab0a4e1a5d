/**
 * Which numbers have which content in the kernel. Sets of equal content share a number, but for those with addresses of names: such a set changes
 * in place, so its number is its own, or what one of them learns would be open to whoever shares it.
 */
import { SetMap } from "../lib/set-map.ts";

export class SetNumbers {
  #byDigest = new SetMap<string, number>();
  /** By number, which set with names has it: `NamedPrefixes.base`. */
  readonly #owners = new Map<number, string>();

  /** Forgets contents, and not whose the numbers are. */
  clear(): void {
    this.#byDigest = new SetMap();
  }

  add(digest: string, number: number): void {
    this.#byDigest.add(digest, number);
  }

  remove(digest: string, number: number): void {
    this.#byDigest.delete(digest, number);
  }

  own(number: number, base: string): void {
    this.#owners.set(number, base);
  }

  disown(number: number): void {
    this.#owners.delete(number);
  }

  /** A number that a set of this content may have. */
  shared(digest: string): number | undefined {
    return this.#first(digest, (number) => !this.#owners.has(number));
  }

  /** The same for a set with names: one that nobody has now. */
  free(digest: string, isHeld: (number: number) => boolean): number | undefined {
    return this.#first(digest, (number) => !this.#owners.has(number) && !isHeld(number));
  }

  #first(digest: string, fits: (number: number) => boolean): number | undefined {
    for (const number of this.#byDigest.get(digest)) if (fits(number)) return number;
    return undefined;
  }
}
