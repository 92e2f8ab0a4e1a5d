/** Paths of HTTP as the proxy sees them before rules do (`addon/src/l7/http/path.cc`), for judging without one. */

export type NormalPath =
  /** `isAskedAgain`: a slash was escaped, and the client is told to ask for `target`. */
  | { readonly kind: "path"; readonly target: string; readonly isAskedAgain: boolean }
  | { readonly kind: "refused"; readonly why: string };

const unreserved = /[a-zA-Z0-9\-._~]/;

/** @param target path and query, in origin form */
export function normalPath(target: string): NormalPath {
  if (target.includes("#")) return { kind: "refused", why: "a fragment in the target" };
  const { path, query } = split(target);
  let decoded = "";
  let isAskedAgain = false;
  for (let at = 0; at < path.length; at++) {
    const letter = path[at] ?? "";
    if (letter !== "%") {
      decoded += letter;
      continue;
    }
    const digits = path.slice(at + 1, at + 3);
    if (!/^[0-9a-fA-F]{2}$/.test(digits)) return { kind: "refused", why: "a percent sign that begins no escape" };
    const code = Number.parseInt(digits, 16);
    if (code < 0x20 || code === 0x7f) return { kind: "refused", why: "an escaped control character in the path" };
    const byte = String.fromCharCode(code);
    isAskedAgain ||= byte === "/";
    decoded += byte === "/" || unreserved.test(byte) ? byte : `%${digits.toUpperCase()}`;
    at += 2;
  }
  return { kind: "path", target: resolve(decoded) + query, isAskedAgain };
}

/** What some servers would read out of it: a backslash as a slash, segments without their parameters. */
export function otherReadings(target: string): readonly string[] {
  const { path, query } = split(target);
  const slashed = (text: string) => text.replaceAll(/\\|%5c/gi, "/");
  const bare = (text: string) => text.replaceAll(/(?:;|%3b)[^/]*/gi, "");
  return [slashed(path), bare(path), bare(slashed(path))].flatMap((reading) => {
    if (reading === path) return [];
    const whole = resolve(reading) + query;
    return whole === target ? [] : [whole];
  });
}

function split(target: string): { readonly path: string; readonly query: string } {
  const question = target.indexOf("?");
  return question < 0
    ? { path: target, query: "" }
    : { path: target.slice(0, question), query: target.slice(question) };
}

/** Slashes merged, dot segments resolved (RFC 3986 5.2.4). */
function resolve(path: string): string {
  const segments = path.replaceAll(/\/+/g, "/").split("/").slice(1);
  const kept: string[] = [];
  for (const [at, segment] of segments.entries()) {
    const isLast = at === segments.length - 1;
    if (segment === "..") kept.pop();
    else if (segment !== ".") kept.push(segment);
    if (isLast && (segment === "." || segment === "..")) kept.push("");
  }
  return `/${kept.join("/")}`;
}
