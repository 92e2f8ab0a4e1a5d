/** `8080/TCP` and `EchoRequest` as what the datapath looks up: for the command line and for the API. */
import type { Flow } from "../policy/explain.ts";
import { icmp6Types, icmpTypes } from "../policy/icmp-types.ts";
import { protocolNumbers } from "../policy/rules.ts";

/** As they were written; one of them. */
export interface FlowTexts {
  readonly port?: string;
  readonly icmp?: string;
  readonly icmp6?: string;
}

export interface FlowMistake {
  readonly message: string;
  readonly remedy: string;
}

export function parseFlow({ port, icmp, icmp6 }: FlowTexts): Flow | FlowMistake {
  const given = [port, icmp, icmp6].filter((each) => each !== undefined);
  if (given.length !== 1) {
    return {
      message: given.length === 0 ? "no port is given" : "more than one of port, icmp, icmp6 is given",
      remedy: "write --port 8080/TCP, or --icmp 8, or --icmp6 128",
    };
  }
  if (port !== undefined) return parsePort(port);
  if (icmp !== undefined) return parseType(icmp, protocolNumbers.ICMP, icmpTypes);
  return parseType(icmp6 ?? "", protocolNumbers.ICMPv6, icmp6Types);
}

const protocols: ReadonlyMap<string, number> = new Map([
  ["TCP", protocolNumbers.TCP],
  ["UDP", protocolNumbers.UDP],
  ["SCTP", protocolNumbers.SCTP],
]);

function parsePort(text: string): Flow | FlowMistake {
  const [, digits = "", name = "TCP"] = /^(\d{1,5})(?:\/([A-Za-z]+))?$/.exec(text) ?? [];
  const number = Number(digits);
  const protocol = protocols.get(name.toUpperCase());
  if (protocol === undefined || digits === "" || number < 1 || number > 65_535) {
    return {
      message: `port ${text} is not NUMBER or NUMBER/PROTOCOL`,
      remedy: "write 1-65535 and TCP, UDP or SCTP, as 53/UDP",
    };
  }
  return { protocol, port: number };
}

function parseType(text: string, protocol: number, names: ReadonlyMap<string, number>): Flow | FlowMistake {
  const named = [...names].find(([name]) => name.toLowerCase() === text.toLowerCase())?.[1];
  const number = named ?? (/^\d{1,3}$/.test(text) ? Number(text) : 256);
  if (number <= 255) return { protocol, port: number << 8 };
  return {
    message: `${text} is not an ICMP type`,
    remedy: `write 0-255 or one of ${[...names.keys()].join(", ")}`,
  };
}
