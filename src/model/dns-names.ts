/**
 * Names of DNS and what policies write about them. Names compare without case and without the final dot. In a pattern `*` stands for
 * letters, digits, `-` and `_` of one label, also for none, so it never crosses a dot; a `*` alone is every name (Cilium's matchPattern).
 */

/** What a rule writes about names. Equal texts of one kind mean the same. */
export interface NamePattern {
  readonly kind: "name" | "pattern";
  readonly text: string;
}

/** Lower case, without the final dot. The root stays ".". */
export function normalName(text: string): string {
  const name = text.trim().toLowerCase();
  return name.length > 1 && name.endsWith(".") ? name.slice(0, -1) : name;
}

export function namePattern(kind: NamePattern["kind"], written: string): NamePattern {
  const text = normalName(written);
  // "*." has a label, and is not the pattern for every name.
  return { kind, text: kind === "pattern" && text === "*" && written.trim() !== "*" ? "*." : text };
}

/** Whether it stands for one name, which is its text. */
export function isWhole({ text }: NamePattern): boolean {
  return !text.includes("*");
}

/** Whether a normalised name is one that the pattern means. */
export function meansName({ kind, text }: NamePattern, name: string): boolean {
  if (kind === "name") return name === text;
  if (text === "*") return true;
  const patterns = normalName(text).split(".");
  const labels = name.split(".");
  return labels.length === patterns.length && patterns.every((pattern, at) => fits(pattern, labels[at] ?? ""));
}

/**
 * One label against one with stars. No regular expression: users write the pattern and others the name, and backtracking over
 * several stars would take forever. This goes back to the last star only.
 */
function fits(pattern: string, label: string): boolean {
  let [at, from] = [0, 0];
  let star: { readonly next: number; until: number } | null = null;
  while (from < label.length) {
    if (pattern[at] === "*") {
      star = { next: ++at, until: from };
    } else if (pattern[at] === label[from]) {
      at++;
      from++;
    } else {
      if (star === null || !/[-a-z0-9_]/.test(label[star.until] ?? "")) return false;
      at = star.next;
      from = ++star.until;
    }
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}
