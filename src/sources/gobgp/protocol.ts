/**
 * The three names under which gobgpd's API goes, newest first, and the numbers that differ between them. Fields have the same
 * numbers in all three; in the newest, enums begin at 1, and NLRI and attributes are typed instead of google.protobuf.Any.
 */
import type { PolicyDirection, TableName } from "./types.ts";

export interface Protocol {
  /** "apipb.GobgpApi" */
  readonly service: string;
  /** Package of messages in Any; null: they are typed. */
  readonly anyPackage: string | null;
  /** WatchEvent, or the older MonitorTable and MonitorPeer. */
  readonly watches: boolean;
  /** Paths are announced and withdrawn. */
  readonly writes: boolean;
  /** For people. */
  readonly label: string;
  readonly table: Readonly<Record<TableName, number>>;
  readonly bestPaths: number;
  readonly exact: number;
  readonly prefixSet: number;
  readonly neighborSet: number;
  /** MatchSet.Type.ANY */
  readonly matchAny: number;
}

/** Enums without a number for "not said". */
const fromZero = {
  table: { global: 0, received: 2, sent: 3 },
  bestPaths: 0,
  exact: 0,
  prefixSet: 0,
  neighborSet: 1,
  matchAny: 0,
};
const fromOne = {
  table: { global: 1, received: 3, sent: 4 },
  bestPaths: 1,
  exact: 1,
  prefixSet: 1,
  neighborSet: 2,
  matchAny: 1,
};

export const protocols: readonly Protocol[] = [
  { service: "api.GoBgpService", anyPackage: null, watches: true, writes: true, label: "GoBGP 4", ...fromOne },
  { service: "apipb.GobgpApi", anyPackage: "apipb", watches: true, writes: true, label: "GoBGP 3", ...fromZero },
  {
    service: "gobgpapi.GobgpApi",
    anyPackage: "gobgpapi",
    watches: false,
    writes: false,
    label: "GoBGP 2",
    ...fromZero,
  },
];

/** The same in all versions. */
export const policyDirections: Readonly<Record<PolicyDirection, number>> = { import: 1, export: 2 };
export const family = { 4: { afi: 1, safi: 1 }, 6: { afi: 2, safi: 1 } } as const;
