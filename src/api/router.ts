/** Finds the handler of a method and a path: "/v1/endpoints/:id" binds `id`. Nothing here knows HTTP's sockets. */
import { ApiError } from "./errors.ts";

export interface Route<H> {
  readonly method: "GET" | "POST";
  readonly pattern: string;
  readonly handler: H;
}

export interface Match<H> {
  readonly handler: H;
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
}

export class Router<H> {
  readonly #routes: readonly (Route<H> & { readonly segments: readonly string[] })[];

  constructor(routes: readonly Route<H>[]) {
    this.#routes = routes.map((route) => ({ ...route, segments: segmentsOf(route.pattern) }));
  }

  /**
   * @param target path and query as the request line has them
   * @throws ApiError NOT_FOUND (404), METHOD_NOT_ALLOWED (405), BAD_REQUEST (400: not a path)
   */
  find(method: string, target: string): Match<H> {
    const url = parse(target);
    const segments = segmentsOf(url.pathname);
    const matches = this.#routes.flatMap((route) => {
      const parameters = bind(route.segments, segments);
      return parameters === null ? [] : [{ route, parameters }];
    });
    const found = matches.find(({ route }) => route.method === method);
    if (found !== undefined) {
      return { handler: found.route.handler, parameters: found.parameters, query: url.searchParams };
    }
    if (matches.length > 0) {
      const allowed = matches.map(({ route }) => route.method).join(", ");
      throw new ApiError(405, "METHOD_NOT_ALLOWED", `${url.pathname} does not answer ${method}`, `use ${allowed}`);
    }
    const known = this.#routes.map(({ pattern }) => pattern).join(" ");
    throw new ApiError(404, "NOT_FOUND", `there is no ${url.pathname}`, `this agent answers ${known}`);
  }
}

function parse(target: string): URL {
  if (!target.startsWith("/") || !URL.canParse(target, "http://agent")) {
    throw new ApiError(400, "BAD_REQUEST", "the request line has no path", "ask for a path as /v1/status");
  }
  return new URL(target, "http://agent");
}

const segmentsOf = (path: string): readonly string[] => path.split("/").filter((segment) => segment !== "");

/** The parameters of a path that fits the pattern, else null. */
function bind(pattern: readonly string[], path: readonly string[]): Readonly<Record<string, string>> | null {
  if (pattern.length !== path.length) return null;
  const parameters: Record<string, string> = {};
  for (const [at, wanted] of pattern.entries()) {
    const given = path[at] ?? "";
    if (wanted.startsWith(":")) parameters[wanted.slice(1)] = decode(given);
    else if (wanted !== given) return null;
  }
  return parameters;
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new ApiError(400, "BAD_REQUEST", `${segment} is not an encoded path segment`, "encode it as a URL asks");
  }
}
