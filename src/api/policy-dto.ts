/**
 * What the API says about policies: GET /v1/policy/trace?from=END&to=END&port=8080/TCP (or icmp=TYPE, icmp6=TYPE; family=4|6) -> PolicyTraceDto.
 * An END is NAMESPACE/POD, node/NAME, an address, and as a destination svc/NAMESPACE/NAME.
 */
import type { PolicyTrace, ResolvedRules } from "../model/policy-reports.ts";
import type { EndpointDto, StatusDto } from "./dto.ts";

/** By what the agent knows now. */
export interface PolicyTraceDto extends PolicyTrace {
  /** Of the agent. */
  readonly node: string;
  readonly revision: StatusDto["revision"];
}

/** As they were written; null: not at all. */
export interface TraceQuestionDto {
  readonly from: string;
  readonly to: string;
  readonly port: string | null;
  readonly icmp: string | null;
  readonly icmp6: string | null;
  readonly family: 4 | 6 | null;
}

/** One pod with its verdict tables. */
export interface EndpointDetailsDto extends EndpointDto {
  /** null: its Pod object is not known, so that it is closed. */
  readonly rules: ResolvedRules | null;
}
