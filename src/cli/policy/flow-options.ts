/** `--port 8080/TCP` and `--icmp EchoRequest` as what the datapath looks up. */
import { type FlowTexts, parseFlow } from "../../compute/offline/flow-text.ts";
import type { Flow } from "../../compute/policy/explain.ts";
import { CliError } from "../errors.ts";

/** @throws CliError TRACE_FLOW (exit code 2) */
export function readFlow({ port, icmp, icmp6 }: FlowTexts): Flow {
  const flow = parseFlow({
    ...(port !== undefined && { port }),
    ...(icmp !== undefined && { icmp }),
    ...(icmp6 !== undefined && { icmp6 }),
  });
  if ("message" in flow) throw new CliError({ code: "TRACE_FLOW", ...flow, exitCode: 2 });
  return flow;
}
