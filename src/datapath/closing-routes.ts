/**
 * What becomes of a packet to an address of this node's pod CIDRs that no pod has. The fabric sends the whole CIDR here; without these routes the
 * packet would follow the default route back into the fabric, and circle until it dies. An `unreachable` route of each CIDR answers
 * instead, also while the agent is away. Its metric is worse than any that somebody else
 * gives the same CIDR, as another plugin's bridge has it; pods' own routes are longer.
 */
import type { AgentConfig } from "../config/index.ts";
import type { Prefix } from "../model/ip.ts";
import type { Problem } from "../model/status.ts";
import type { Counters } from "./map-table.ts";
import { type RouteFailure, type RouteNative, UnreachableRoutes } from "./unreachable-routes.ts";

const mainTable = 254;
/** Lower ones win; the kernel's own last resort of IPv6 has the largest there is. */
const metric = 0xffff_0000;

export type { RouteNative };

export class ClosingRoutes {
  readonly #routes: UnreachableRoutes;
  readonly #families: ReadonlySet<number>;

  constructor(native: RouteNative, { ipv4, ipv6 }: Pick<AgentConfig, "ipv4" | "ipv6">) {
    this.#routes = new UnreachableRoutes(native, { table: mainTable, metric });
    this.#families = new Set([...(ipv4 ? [4] : []), ...(ipv6 ? [6] : [])]);
  }

  get counters(): Counters {
    return this.#routes.counters;
  }

  /** Takes what the kernel has as what is there. @returns how many routes were not as they were believed to be */
  read(): Promise<number> {
    return this.#routes.read();
  }

  /** @param podCidrs of this node; undefined: they are not known, and those of before hold */
  async apply(podCidrs: readonly Prefix[] | undefined): Promise<readonly Problem[]> {
    const wanted = podCidrs?.filter(({ family }) => this.#families.has(family));
    const map = wanted === undefined ? null : new Map(wanted.map((prefix) => [prefix.text, prefix]));
    return (await this.#routes.apply(map)).map(problem);
  }
}

function problem({ op, prefix: cidr, reason }: RouteFailure): Problem {
  const what =
    op === "delete"
      ? `the route that closes ${cidr} stays, although the CIDR is not this node's any more`
      : `${cidr} is not closed: packets to an address of it that no pod has leave by the default route`;
  return {
    code: "CLOSING_ROUTE",
    severity: "warning",
    object: `route ${cidr}`,
    field: "",
    message: `${what}: ${reason}`,
    remedy: `it is tried again with the next change; see \`ip route show ${cidr}\` for what is in its way`,
  };
}
