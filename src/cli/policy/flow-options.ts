/** `--port 8080/TCP` and `--icmp EchoRequest` as what the datapath looks up. */
import type { Flow } from "../../compute/policy/explain.ts";
import { icmp6Types, icmpTypes } from "../../compute/policy/icmp-types.ts";
import { protocolNumbers } from "../../compute/policy/rules.ts";
import { CliError } from "../errors.ts";

export interface FlowOptions {
  readonly port?: string;
  readonly icmp?: string;
  readonly icmp6?: string;
}

/** @throws CliError TRACE_FLOW (exit code 2) */
export function readFlow({ port, icmp, icmp6 }: FlowOptions): Flow {
  const given = [port, icmp, icmp6].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw usage(
      given.length === 0 ? "no port is given" : "more than one of --port, --icmp, --icmp6 is given",
      "write --port 8080/TCP, or --icmp 8, or --icmp6 128",
    );
  }
  if (port !== undefined) return readPort(port);
  if (icmp !== undefined) return { protocol: protocolNumbers.ICMP, port: readType(icmp, icmpTypes) << 8 };
  return { protocol: protocolNumbers.ICMPv6, port: readType(icmp6 ?? "", icmp6Types) << 8 };
}

function readPort(text: string): Flow {
  const [, digits = "", name = "TCP"] = /^(\d{1,5})(?:\/([A-Za-z]+))?$/.exec(text) ?? [];
  const number = Number(digits);
  const protocol = { TCP: protocolNumbers.TCP, UDP: protocolNumbers.UDP, SCTP: protocolNumbers.SCTP }[
    name.toUpperCase()
  ];
  if (protocol === undefined || digits === "" || number < 1 || number > 65_535) {
    throw usage(`--port ${text} is not NUMBER or NUMBER/PROTOCOL`, "write 1-65535 and TCP, UDP or SCTP, as 53/UDP");
  }
  return { protocol, port: number };
}

function readType(text: string, names: ReadonlyMap<string, number>): number {
  const named = [...names].find(([name]) => name.toLowerCase() === text.toLowerCase())?.[1];
  const number = named ?? (/^\d{1,3}$/.test(text) ? Number(text) : 256);
  if (number > 255) throw usage(`${text} is not an ICMP type`, `write 0-255 or one of ${[...names.keys()].join(", ")}`);
  return number;
}

function usage(message: string, remedy: string): CliError {
  return new CliError({ code: "TRACE_FLOW", message, remedy, exitCode: 2 });
}
