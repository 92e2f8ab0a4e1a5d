/**
 * Whether a text is a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax, as Go's regexp/syntax reads it), which is what
 * HTTP rules are written in. JavaScript's own engine cannot say: it takes look-around and back-references, which RE2 has not, and
 * refuses inline flags, which RE2 has.
 */
import { nearest } from "../../lib/nearest.ts";

const classNames = [
  ...["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper"],
  ...["word", "xdigit"],
];
const mostRepeats = 1000;
const lastCharacter = 0x10ffff;

/** @returns what is wrong with it; null: nothing */
export function regexMistake(text: string): string | null {
  try {
    new Reader(text).read();
    return null;
  } catch (error) {
    if (error instanceof Mistake) return error.message;
    throw error;
  }
}

class Mistake extends Error {}

class Reader {
  /** By character, not by code unit. */
  readonly #text: readonly string[];
  readonly #names = new Set<string>();
  #at = 0;

  constructor(text: string) {
    this.#text = [...text];
  }

  read(): void {
    this.#alternatives();
    if (this.#at < this.#text.length) throw new Mistake(`a ")" that closes nothing`);
  }

  /** Up to the end, or before the bracket that closes the group. */
  #alternatives(): void {
    let repeatable = false;
    let repeated = false;
    for (let next = this.#peek(); next !== undefined && next !== ")"; next = this.#peek()) {
      const count = this.#repetition();
      if (count !== null) {
        if (!repeatable) throw new Mistake(`${count} repeats nothing`);
        if (repeated) throw new Mistake(`${count} repeats a repetition`);
        this.#take("?");
        repeated = true;
        continue;
      }
      this.#at++;
      repeated = false;
      repeatable = this.#item(next);
    }
  }

  /** "*", "+", "?" and counts; null: something else. A "{" that begins no count is a character. */
  #repetition(): string | null {
    const next = this.#peek();
    if (next === "*" || next === "+" || next === "?") {
      this.#at++;
      return next;
    }
    const written = /^\{(\d+)(,(\d*))?\}/.exec(this.#text.slice(this.#at, this.#at + 24).join(""));
    if (written === null) return null;
    const [whole, least, comma, most] = written;
    const first = Number(least);
    const last = comma === undefined || most === "" ? first : Number(most);
    if (first > mostRepeats || last > mostRepeats || last < first) throw new Mistake(`${whole} is no number of times`);
    this.#at += whole.length;
    return whole;
  }

  /** @returns whether it can be repeated */
  #item(character: string): boolean {
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        this.#charactersOfClass();
        return true;
      case "\\":
        return this.#escape();
      case "|":
        return false;
      default:
        return true;
    }
  }

  /** Behind "(". Flags alone are no group, and nothing to repeat. */
  #group(): boolean {
    if (this.#take("?")) {
      const rest = this.#text.slice(this.#at).join("");
      const name = /^P?<([^>]*)>/.exec(rest);
      const flags = /^([imsU]*(?:-[imsU]+)?)([:)])/.exec(rest);
      if (name !== null) {
        const [whole, given = ""] = name;
        if (!/^[A-Za-z0-9_]+$/.test(given)) throw new Mistake(`(?${whole} is no name of a group`);
        if (this.#names.has(given)) throw new Mistake(`two groups are called ${given}`);
        this.#names.add(given);
        this.#at += [...whole].length;
      } else if (flags !== null) {
        this.#at += flags[0].length;
        if (flags[2] === ")") return false;
      } else throw new Mistake(`(?${rest.slice(0, 2)} is not there in RE2, which has no look-around`);
    }
    this.#alternatives();
    if (!this.#take(")")) throw new Mistake(`a "(" that is not closed`);
    return true;
  }

  /** Behind a backslash. */
  #escape(): boolean {
    const next = this.#next();
    if (next === undefined) throw new Mistake("a backslash at the end");
    if (next === "Q") {
      const end = this.#text.findIndex((each, at) => at >= this.#at && each === "\\" && this.#text[at + 1] === "E");
      this.#at = end < 0 ? this.#text.length : end + 2;
      return true;
    }
    if (!/[AzbB]/.test(next)) this.#escaped(next);
    return true;
  }

  /** What may follow a backslash inside of a class too. @returns its code, null for a class of characters */
  #escaped(next: string): number | null {
    if (/[dDsSwW]/.test(next)) return null;
    if (next === "p" || next === "P") {
      const name = this.#take("{") ? this.#until("}", `\\${next}{`) : this.#next();
      if (name === undefined || !/^\^?[A-Za-z_]+$/.test(name))
        throw new Mistake(`\\${next} without a name of characters`);
      return null;
    }
    if (next === "x") return this.#hexadecimal();
    const more = this.#peek();
    if (/[0-7]/.test(next) && (next === "0" || (more !== undefined && /[0-7]/.test(more)))) {
      let code = Number(next);
      for (let digits = 1; digits < 3 && /^[0-7]$/.test(this.#peek() ?? ""); digits++)
        code = code * 8 + Number(this.#next());
      return code;
    }
    if (/[1-9]/.test(next)) throw new Mistake(`\\${next} is not there in RE2, which has no back-references`);
    if (/[A-Za-z]|[^ -~]/.test(next) && !/[afnrtv]/.test(next)) throw new Mistake(`\\${next} is no escape`);
    return next.codePointAt(0) ?? 0;
  }

  #hexadecimal(): number {
    const digits = this.#take("{") ? this.#until("}", "\\x{") : `${this.#next() ?? ""}${this.#next() ?? ""}`;
    const code = /^[0-9A-Fa-f]{1,6}$/.test(digits) ? Number.parseInt(digits, 16) : Number.POSITIVE_INFINITY;
    if (code > lastCharacter) throw new Mistake(`\\x${digits} is no character`);
    return code;
  }

  /** Behind "[". */
  #charactersOfClass(): void {
    this.#take("^");
    let first = true;
    for (;;) {
      const next = this.#next();
      if (next === undefined) throw new Mistake(`a "[" that is not closed`);
      if (next === "]" && !first) return;
      first = false;
      const low = this.#classItem(next);
      if (this.#peek() !== "-" || this.#text[this.#at + 1] === "]" || low === null) continue;
      this.#at++;
      const end = this.#next();
      if (end === undefined) throw new Mistake(`a "[" that is not closed`);
      const high = this.#classItem(end);
      if (high === null || high < low) throw new Mistake(`${next}-${end} is no range of characters`);
    }
  }

  /** @returns its code, null for several characters */
  #classItem(next: string): number | null {
    if (next === "\\") {
      const escaped = this.#next();
      if (escaped === undefined) throw new Mistake("a backslash at the end");
      return this.#escaped(escaped);
    }
    const name = next === "[" ? /^:\^?([a-z]*):\]/.exec(this.#text.slice(this.#at, this.#at + 12).join("")) : null;
    if (name === null) return next.codePointAt(0) ?? 0;
    const [whole, given = ""] = name;
    if (!classNames.includes(given)) {
      const near = nearest(given, classNames);
      throw new Mistake(`[:${given}:] is no class of characters${near === null ? "" : `, [:${near}:] is one`}`);
    }
    this.#at += whole.length;
    return null;
  }

  #peek(): string | undefined {
    return this.#text[this.#at];
  }

  #next(): string | undefined {
    return this.#text[this.#at++];
  }

  #take(character: string): boolean {
    const is = this.#peek() === character;
    if (is) this.#at++;
    return is;
  }

  #until(end: string, opened: string): string {
    const at = this.#text.indexOf(end, this.#at);
    if (at < 0) throw new Mistake(`${opened} is not closed`);
    const inside = this.#text.slice(this.#at, at).join("");
    this.#at = at + 1;
    return inside;
  }
}
