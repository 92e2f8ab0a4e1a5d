/** Which of BGP's paths are kept although the session that they came by is gone: graceful restart of the other end. */
import type { BgpPathRow, BgpPeerRow } from "../model/tables.ts";

/**
 * GoBGP marks them where they are listed, and tells nobody at the moment it does: who followed its events knows it of the session. A path that is withdrawn with its
 * session goes before that is told to be down.
 */
export function isKept(path: BgpPathRow, peers: ReadonlyMap<string, BgpPeerRow>): boolean {
  if (path.stale || path.peer === null) return path.stale;
  const state = peers.get(path.peer.text)?.state;
  return state !== undefined && state !== "ESTABLISHED";
}
