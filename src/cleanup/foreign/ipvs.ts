/** Services of IPVS, as /proc/net/ip_vs of a network namespace tells them. Pure. */
import { addressFromBytes, parseAddress } from "../../model/ip.ts";

export interface IpvsService {
  readonly protocol: "TCP" | "UDP" | "SCTP" | "FWM";
  /** "10.96.0.10:53", "[fd00::a]:53", or the number of a firewall mark. */
  readonly address: string;
}

/** @param text addresses and ports are hexadecimal, IPv6 in brackets and not shortened; lines of servers begin with "->" */
export function ipvsServices(text: string): readonly IpvsService[] {
  return text.split("\n").flatMap((line): readonly IpvsService[] => {
    const [, protocol, where = ""] = /^(TCP|UDP|SCTP|FWM) +(\S+)/.exec(line) ?? [];
    if (protocol !== "TCP" && protocol !== "UDP" && protocol !== "SCTP" && protocol !== "FWM") return [];
    if (protocol === "FWM") return [{ protocol, address: String(Number.parseInt(where, 16)) }];
    const [, six, four, port = ""] = /^(?:\[([0-9a-f:]+)\]|([0-9A-F]{8})):([0-9A-F]{4})$/i.exec(where) ?? [];
    if (six === undefined && four === undefined) return [];
    const host =
      six === undefined ? addressFromBytes(Buffer.from(four ?? "", "hex")).text : `[${parseAddress(six)?.text ?? six}]`;
    return [{ protocol, address: `${host}:${Number.parseInt(port, 16)}` }];
  });
}

/** Words of ipvsadm(8) that name a service. */
export function ipvsWords({ protocol, address }: IpvsService): readonly string[] {
  switch (protocol) {
    case "TCP":
      return ["-t", address];
    case "UDP":
      return ["-u", address];
    case "SCTP":
      return ["--sctp-service", address];
    case "FWM":
      return ["-f", address];
  }
}
