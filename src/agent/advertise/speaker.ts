/**
 * What this agent announces through one session with gobgpd. Its paths are known by a large community (RFC 8092) of the node's AS and a number of our
 * own, so that whoever comes after a crash finds them, and takes no other for its own. One prefix has one path of the speaker itself: who announces it
 * again replaces it. While the agent is away gobgpd goes on announcing; with gobgpd all of it ends.
 */
import { type Address, makePrefix, type Prefix } from "../../model/ip.ts";
import type { BgpPathRow } from "../../model/tables.ts";
import type { DesiredAddress, DesiredPath } from "../../compute/services/advertise.ts";
import type { GobgpSession } from "../../sources/gobgp/index.ts";
import type { Announcement } from "../../sources/gobgp/types.ts";
import { ExportSet } from "./export-set.ts";

/** "TAND": the second number of the community that marks a path as ours. */
const markNumber = 0x5441_4e44;
const markVersion = 1;
/** Of a list before the event loop gets a turn. */
const pathsPerTurn = 200;

export type Outcome = "advertised" | "foreign";

interface Held {
  readonly announcement: Pick<Announcement, "prefix" | "nextHop">;
  /** Of its attributes; "": of an agent before, not compared. */
  readonly signature: string;
}

export class Speaker {
  readonly session: GobgpSession;
  readonly #exports: ExportSet;
  readonly #mark: string;
  /** By prefix. */
  readonly #held = new Map<string, Held>();

  constructor(session: GobgpSession) {
    this.session = session;
    this.#exports = new ExportSet(session.client);
    this.#mark = `${session.asn}:${markNumber}:${markVersion}`;
  }

  /**
   * Finds what an agent before left.
   * @param rows best paths
   * @param all also looks for paths that are not the best ones: a lower local preference loses to a peer's path, and gobgpd's whole table is read
   * @throws GobgpError
   */
  async open(rows: Iterable<BgpPathRow>, all: boolean, signal: AbortSignal): Promise<void> {
    for (const { prefix, nextHop, peer, communities } of rows) this.#find(prefix, nextHop, peer, communities);
    await this.#exports.read(signal);
    if (!all) return;
    let read = 0;
    for (const family of [4, 6] as const) {
      for await (const paths of this.session.client.paths({ table: "global", family }, signal)) {
        for (const { prefix, nextHop, peer, largeCommunities } of paths)
          this.#find(prefix, nextHop, peer, largeCommunities);
        if (++read % pathsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  /** Looks again for what lets our paths out: whoever else changes policies may have taken it away. */
  async refresh(signal: AbortSignal): Promise<void> {
    await this.#exports.read(signal);
  }

  #find(prefix: Prefix, nextHop: Address | null, peer: Address | null, communities: readonly string[]): void {
    if (peer !== null || nextHop === null || !communities.includes(this.#mark)) return;
    this.#held.set(prefix.text, { announcement: { prefix, nextHop }, signature: "" });
  }

  /** Withdraws what is not among these. @returns texts of prefixes @throws GobgpError */
  async withdrawOthers(
    wanted: ReadonlySet<string>,
    rows: ReadonlyMap<string, BgpPathRow>,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const gone: string[] = [];
    for (const [text, { announcement }] of this.#held) {
      if (wanted.has(text)) continue;
      // Replaced by kube-router's own: withdrawing by the prefix would take that one.
      if (!this.#isForeign(rows.get(text))) await this.session.client.withdraw(announcement, signal);
      this.#held.delete(text);
      gone.push(text);
      await this.#exports.remove(announcement.prefix, signal);
    }
    return gone;
  }

  /** @throws GobgpError */
  async announce(
    address: DesiredAddress,
    path: DesiredPath,
    rows: ReadonlyMap<string, BgpPathRow>,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const prefix = hostPrefix(address);
    if (this.#isForeign(rows.get(prefix.text))) {
      this.#held.delete(prefix.text);
      return "foreign";
    }
    const isNew = await this.#exports.add(prefix, signal);
    const signature = JSON.stringify([path.nextHop.text, path.communities, path.localPref, path.prepend]);
    const held = this.#held.get(prefix.text);
    // Policies are asked when a path comes: what became exportable is announced again.
    if (isNew || held?.signature !== signature) {
      const announcement = this.#announcement(prefix, path);
      await this.session.client.announce(announcement, signal);
      this.#held.set(prefix.text, { announcement, signature });
    }
    return "advertised";
  }

  /** Somebody took it away: it is announced again with the next comparison. */
  forget(prefix: Prefix): void {
    this.#held.delete(prefix.text);
  }

  get held(): ReadonlyMap<string, unknown> {
    return this.#held;
  }

  /** A path of the speaker itself that is not marked: kube-router's, or of whoever else asks gobgpd. */
  #isForeign(row: BgpPathRow | undefined): boolean {
    return row !== undefined && row.peer === null && !row.communities.includes(this.#mark);
  }

  #announcement(prefix: Prefix, { nextHop, communities, localPref, prepend }: DesiredPath): Announcement {
    const { asn } = this.session;
    const numbers = communities.map((text) => text.split(":").map(Number));
    return {
      prefix,
      nextHop,
      communities: numbers.flatMap(([high = 0, low = 0, ...more]) =>
        more.length === 0 ? [high * 0x1_0000 + low] : [],
      ),
      largeCommunities: [
        [asn, markNumber, markVersion],
        ...numbers.flatMap(([a = 0, b = 0, c]) => (c === undefined ? [] : [[a, b, c] as const])),
      ],
      asPath: Array.from({ length: prepend }, () => asn),
      ...(localPref !== null && { localPref }),
    };
  }
}

export function hostPrefix({ address }: Pick<DesiredAddress, "address">): Prefix {
  return makePrefix(address, address.bytes.length * 8);
}
