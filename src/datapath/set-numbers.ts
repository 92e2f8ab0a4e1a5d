/**
 * Which numbers have which content in the kernel. Sets of equal content share a number, but for those with addresses of names: such a set changes
 * in place, so its number is its own, or what one of them learns would be open to whoever shares it.
 */
export class SetNumbers {
  readonly #byDigest = new Map<string, Set<number>>();
  /** By number, which set with names has it: `NamedPrefixes.base`. */
  readonly #owners = new Map<number, string>();

  /** Forgets contents, and not whose the numbers are. */
  clear(): void {
    this.#byDigest.clear();
  }

  add(digest: string, number: number): void {
    const known = this.#byDigest.get(digest);
    if (known === undefined) this.#byDigest.set(digest, new Set([number]));
    else known.add(number);
  }

  remove(digest: string, number: number): void {
    const known = this.#byDigest.get(digest);
    if (known?.delete(number) === true && known.size === 0) this.#byDigest.delete(digest);
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
    for (const number of this.#byDigest.get(digest) ?? []) if (fits(number)) return number;
    return undefined;
  }
}
