/** The queries of /v1/policy/trace and /v1/service/trace: what cannot be asked is refused before anybody thinks about it. */
import { nearest } from "../lib/nearest.ts";
import { ApiError } from "./errors.ts";
import type { TraceQuestionDto } from "./policy-dto.ts";
import type { ServiceQuestionDto } from "./service-dto.ts";

const known = ["from", "to", "port", "icmp", "icmp6", "family"];

/** @throws ApiError BAD_REQUEST (400) */
export function traceQuestion(query: URLSearchParams): TraceQuestionDto {
  checkNames(query, known);
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

/** @throws ApiError BAD_REQUEST (400) */
export function serviceQuestion(query: URLSearchParams): ServiceQuestionDto {
  checkNames(query, ["client", "to"]);
  const client = query.get("client") ?? "";
  const to = query.get("to") ?? "";
  if (client === "" || to === "") {
    throw badRequest("client and to are needed", "ask as /v1/service/trace?client=shop/web&to=10.96.0.1:80/TCP");
  }
  return { client, to };
}

function checkNames(query: URLSearchParams, names: readonly string[]): void {
  for (const name of query.keys()) {
    if (names.includes(name)) continue;
    const near = nearest(name, names);
    throw badRequest(
      `there is no parameter ${name}`,
      near === null ? `use ${names.join(", ")}` : `did you mean ${near}?`,
    );
  }
}

function badRequest(message: string, remedy: string): ApiError {
  return new ApiError(400, "BAD_REQUEST", message, remedy);
}
