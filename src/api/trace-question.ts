/** The query of /v1/policy/trace: what cannot be asked is refused before anybody thinks about it. */
import { nearest } from "../lib/nearest.ts";
import { ApiError } from "./errors.ts";
import type { TraceQuestionDto } from "./policy-dto.ts";

const known = ["from", "to", "port", "icmp", "icmp6", "family"];

/** @throws ApiError BAD_REQUEST (400) */
export function traceQuestion(query: URLSearchParams): TraceQuestionDto {
  for (const name of query.keys()) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    throw badRequest(
      `there is no parameter ${name}`,
      near === null ? `use ${known.join(", ")}` : `did you mean ${near}?`,
    );
  }
  const from = query.get("from") ?? "";
  const to = query.get("to") ?? "";
  if (from === "" || to === "") {
    throw badRequest("from and to are needed", "ask as /v1/policy/trace?from=shop/web&to=shop/api&port=8080/TCP");
  }
  const family = query.get("family");
  if (family !== null && family !== "4" && family !== "6") throw badRequest(`family ${family}`, "use 4 or 6");
  return {
    from,
    to,
    port: query.get("port"),
    icmp: query.get("icmp"),
    icmp6: query.get("icmp6"),
    family: family === null ? null : family === "4" ? 4 : 6,
  };
}

function badRequest(message: string, remedy: string): ApiError {
  return new ApiError(400, "BAD_REQUEST", message, remedy);
}
