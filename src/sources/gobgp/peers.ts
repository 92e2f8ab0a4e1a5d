/** The speaker itself and its peers from the wire. */
import { parseAddress } from "../../model/ip.ts";
import { type Global, type Peer, type SessionState, sessionStates } from "./types.ts";
import { FieldReader } from "./wire.ts";

export function readGlobal(bytes: Uint8Array): Global {
  const reader = new FieldReader(bytes);
  let [asn, routerId] = [0, ""];
  while (reader.next()) {
    if (reader.field === 1) asn = reader.number();
    else if (reader.field === 2) routerId = reader.text();
    else reader.skip();
  }
  return { asn, routerId };
}

/** Of a session that never was, version 3 says Go's zero time, long before the epoch. */
const isTime = (ms: number): boolean => ms > 0;

/**
 * null: a neighbour without an address (an interface's, before it was found).
 * @param firstDown AdminState that is the least of those that are down
 */
export function readPeer(bytes: Uint8Array, firstDown: number): Peer | null {
  const reader = new FieldReader(bytes);
  let conf = { address: "", asn: 0 };
  let state = { address: "", asn: 0, session: "UNKNOWN" as SessionState, adminDown: false, routerId: "" };
  let timers = { holdSeconds: 0, uptime: 0, downtime: 0 };
  let gracefulRestart = false;
  const counts = { received: 0, accepted: 0, advertised: 0 };
  while (reader.next()) {
    switch (reader.field) {
      case 2:
        conf = readConf(reader.bytes());
        break;
      case 5:
        state = readState(reader.bytes(), firstDown);
        break;
      case 6:
        timers = readTimers(reader.bytes());
        break;
      case 9:
        gracefulRestart = flagOf(reader.bytes(), 1);
        break;
      case 10:
        countInto(reader.bytes(), counts);
        break;
      default:
        reader.skip();
    }
  }
  const address = parseAddress(state.address) ?? parseAddress(conf.address);
  if (address === null) return null;
  const { session, adminDown, routerId } = state;
  const since = session === "ESTABLISHED" ? timers.uptime : timers.downtime;
  return {
    address,
    // In kube-router's mesh the configured number is 0, "whatever the other says".
    asn: state.asn === 0 ? conf.asn : state.asn,
    state: session,
    adminDown,
    routerId,
    since: isTime(since) ? since : null,
    holdSeconds: timers.holdSeconds,
    gracefulRestart,
    ...counts,
  };
}

function readConf(bytes: Uint8Array): { readonly address: string; readonly asn: number } {
  const reader = new FieldReader(bytes);
  let [address, asn] = ["", 0];
  while (reader.next()) {
    if (reader.field === 4) address = reader.text();
    else if (reader.field === 5) asn = reader.number();
    else reader.skip();
  }
  return { address, asn };
}

/** Of AdminState, DOWN and PFX_CT are 1 and 2 up to version 3, 2 and 3 in version 4 (where UP is 1). @param firstDown the least of them */
function readState(bytes: Uint8Array, firstDown: number) {
  const reader = new FieldReader(bytes);
  let [address, asn, session, admin, routerId] = ["", 0, 0, 0, ""];
  while (reader.next()) {
    switch (reader.field) {
      case 5:
        address = reader.text();
        break;
      case 6:
        asn = reader.number();
        break;
      case 13:
        session = reader.number();
        break;
      case 15:
        admin = reader.number();
        break;
      case 20:
        routerId = readRouterId(reader);
        break;
      default:
        reader.skip();
    }
  }
  return {
    address,
    asn,
    session: sessionStates[session] ?? ("UNKNOWN" as const),
    adminDown: admin >= firstDown,
    routerId,
  };
}

/** Early version 2 had a counter under this number. */
function readRouterId(reader: FieldReader): string {
  try {
    return reader.text();
  } catch {
    reader.skip();
    return "";
  }
}

function readTimers(bytes: Uint8Array) {
  const reader = new FieldReader(bytes);
  let [holdSeconds, uptime, downtime] = [0, 0, 0];
  while (reader.next()) {
    if (reader.field !== 2) {
      reader.skip();
      continue;
    }
    const state = new FieldReader(reader.bytes());
    while (state.next()) {
      if (state.field === 5) holdSeconds = state.long();
      else if (state.field === 6) uptime = state.time();
      else if (state.field === 7) downtime = state.time();
      else state.skip();
    }
  }
  return { holdSeconds, uptime, downtime };
}

function flagOf(bytes: Uint8Array, field: number): boolean {
  const reader = new FieldReader(bytes);
  let found = false;
  while (reader.next()) {
    if (reader.field === field) found = reader.flag();
    else reader.skip();
  }
  return found;
}

/** AfiSafi.state: received, accepted, advertised. */
function countInto(bytes: Uint8Array, counts: { received: number; accepted: number; advertised: number }): void {
  const reader = new FieldReader(bytes);
  while (reader.next()) {
    if (reader.field !== 3) {
      reader.skip();
      continue;
    }
    const state = new FieldReader(reader.bytes());
    while (state.next()) {
      if (state.field === 3) counts.received += state.long();
      else if (state.field === 4) counts.accepted += state.long();
      else if (state.field === 5) counts.advertised += state.long();
      else state.skip();
    }
  }
}
