/** Offline answers: one computation for all nodes against one for each, rules against vectors, all ports at once against one by one. */
import test from "ava";
import fc from "fast-check";
import { clusterOfManifests, OfflineCluster, podKey } from "../../../src/compute/offline/cluster.ts";
import { judgeEnd, judgePath, rulesBehind } from "../../../src/compute/offline/connection.ts";
import { readGroups } from "../../../src/compute/offline/groups.ts";
import { compareClusters } from "../../../src/compute/offline/impact.ts";
import { classesOf } from "../../../src/compute/offline/impact-parties.ts";
import { changeKinds, compareReach, isUnchanged, Reaches } from "../../../src/compute/offline/reach.ts";
import { groupsOf, vectorsOf } from "../../../src/compute/offline/vectors.ts";
import type { Address } from "../../../src/model/ip.ts";
import type { TableStore } from "../../../src/model/store.ts";
import { address, strangers } from "../../support/arbitrary-rows.ts";
import { build, clusterSteps, flows, hostPolicyStep, policyStep } from "../../support/arbitrary-cluster.ts";
import { ComputedCluster, isLive } from "../../support/compute-cluster.ts";
import type { Flow } from "../../support/reference-policy.ts";

const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

function everyAddress(store: TableStore): readonly Address[] {
  const nodes = [...store.table("nodes").values()].flatMap(({ addresses }) => addresses);
  const pods = [...store.table("pods").values()].filter(isLive).flatMap(({ addresses }) => addresses);
  return [...nodes, ...pods, ...strangers.map(address)];
}

function packetOf({ protocol, number }: Flow) {
  const isIcmp = protocol === "ICMP" || protocol === "ICMPv6";
  return { protocol: protocols[protocol], port: isIcmp ? number << 8 : number };
}

/** Each pod's address that is its own, with each address of the family that is not the pod's. */
function* ends(store: TableStore, cluster: OfflineCluster) {
  for (const pod of cluster.livePods) {
    for (const own of pod.addresses) {
      const subject = cluster.partyAt(own);
      if (subject.kind !== "pod" || podKey(subject.pod) !== podKey(pod)) continue;
      for (const peer of everyAddress(store)) {
        if (peer.family !== own.family || pod.addresses.some(({ text }) => text === peer.text)) continue;
        yield { pod, own, subject, peer: cluster.partyAt(peer) };
      }
    }
  }
}

const sides = ["ingress", "egress"] as const;

test("one computation for all nodes says what each node's own says, and the rules told are those that decide", (t) => {
  const seen = { allow: 0, deny: 0, redirect: 0 };
  fc.assert(
    fc.property(clusterSteps, (steps) => {
      const store = build(steps);
      const nodes = new ComputedCluster(store);
      const cluster = new OfflineCluster(store.snapshot());
      for (const { own, subject, peer } of ends(store, cluster)) {
        for (const flow of flows) {
          for (const side of sides) {
            const packet = packetOf(flow);
            const end = judgeEnd(cluster, side, subject, peer, packet);
            const expected = nodes.judgeEnd(own, side, { peer: peer.address, ...packet });
            seen[end.verdict]++;
            if (end.verdict !== expected)
              throw new Error(`${side} of ${subject.name}, peer ${peer.name}: ${end.verdict}, not ${expected}`);
            const { deciding } = rulesBehind(cluster, end);
            if (deciding.length > 0 !== (end.basis.kind === "group")) {
              throw new Error(
                `${side} of ${subject.name}, peer ${peer.name}: ${end.basis.kind} by ${deciding.length} rules`,
              );
            }
            if (end.basis.kind !== "group") continue;
            const origins = end.set?.[side].origins[end.basis.group] ?? [];
            if (!deciding.some(({ origin }) => origins.includes(origin)))
              throw new Error(`${origins.join()} is not told`);
          }
        }
      }
    }),
    { numRuns: 80 },
  );
  t.log(JSON.stringify(seen));
  t.true(seen.allow > 500 && seen.deny > 500 && seen.redirect > 0);
});

test("groups read back from the tables hold the same peers and ports as the tables", (t) => {
  let compared = 0;
  fc.assert(
    fc.property(clusterSteps, (steps) => {
      const store = build(steps);
      const cluster = new OfflineCluster(store.snapshot());
      for (const { subject, peer } of ends(store, cluster)) {
        if (subject.kind !== "pod") continue;
        const set = cluster.setOf(podKey(subject.pod));
        if (set === null) throw new Error("there is no set");
        const identity = cluster.identityOf(peer, subject.pod.node);
        for (const side of sides) {
          const vectors = vectorsOf(set[side]);
          const readings = readGroups(set[side]);
          const outside = peer.kind === "outside";
          const who = readings.filter(
            ({ anybody, identities, blocks, outsideOnly }) =>
              anybody ||
              identities.includes(identity) ||
              ((outside || !outsideOnly) &&
                blocks.some(
                  ({ prefix, except }) =>
                    holds(prefix, peer.address) && !except.some((each) => holds(each, peer.address)),
                )),
          );
          compared++;
          const expected = groupsOf(vectors.who(identity, peer.address));
          if (who.map(({ group }) => group).join() !== expected.join())
            throw new Error(`${side} of ${subject.name}, ${peer.name}`);
          for (const flow of flows) {
            const { protocol, port } = packetOf(flow);
            const where = readings.filter(({ ports }) =>
              ports.some(
                (range) =>
                  range.protocol === 0 || (range.protocol === protocol && port >= range.first && port <= range.last),
              ),
            );
            if (where.map(({ group }) => group).join() !== groupsOf(vectors.where(protocol, port)).join()) {
              throw new Error(`${side} of ${subject.name}, ${flow.protocol} ${flow.number}`);
            }
          }
        }
      }
    }),
    { numRuns: 60 },
  );
  t.true(compared > 500);
});

function holds(prefix: { readonly address: Address; readonly length: number }, { bytes, family }: Address): boolean {
  if (prefix.address.family !== family) return false;
  const bit = (of: Uint8Array, at: number) => ((of[at >> 3] ?? 0) >> (7 - (at & 7))) & 1;
  return Array.from({ length: prefix.length }, (_, at) => at).every(
    (at) => bit(bytes, at) === bit(prefix.address.bytes, at),
  );
}

test("all ports at once agree with every port by itself", (t) => {
  let compared = 0;
  fc.assert(
    fc.property(clusterSteps, (steps) => {
      const store = build(steps);
      const cluster = new OfflineCluster(store.snapshot());
      const reaches = new Reaches(cluster);
      for (const { subject, peer } of ends(store, cluster)) {
        const reach = reaches.between(subject, peer);
        for (const protocol of new Set(reach.map((piece) => piece.protocol))) {
          const pieces = reach.filter((piece) => piece.protocol === protocol);
          if (pieces[0]?.first !== 0 || pieces.at(-1)?.last !== 65_535) throw new Error("ports are missing");
          if (pieces.some(({ first }, at) => at > 0 && first !== (pieces[at - 1]?.last ?? 0) + 1))
            throw new Error("a gap");
        }
        for (const flow of flows) {
          if (flow.protocol === (peer.address.family === 4 ? "ICMPv6" : "ICMP")) continue;
          const packet = packetOf(flow);
          const piece = reach.find(
            ({ protocol, first, last }) => protocol === packet.protocol && packet.port >= first && packet.port <= last,
          );
          const path = judgePath(cluster, subject, peer, packet);
          const bad = path.egress?.verdict === "deny" || path.ingress?.verdict === "deny";
          const expected = bad ? "deny" : path.verdict;
          compared++;
          if (piece?.verdict !== expected)
            throw new Error(`${subject.name} -> ${peer.name}: ${piece?.verdict}, not ${expected}`);
        }
      }
    }),
    { numRuns: 60 },
  );
  t.true(compared > 1000);
});

test("nodes' dealings, all ports at once, agree with every port by itself, and an impact tells what changes in them", (t) => {
  const seen = { compared: 0, denied: 0, changes: 0 };
  fc.assert(
    fc.property(clusterSteps, hostPolicyStep, hostPolicyStep, fc.boolean(), (steps, one, other, allowLockout) => {
      const before = clusterOfManifests(build([...steps, one]).snapshot(), { allowLockout });
      const store = build([...steps, one, other]);
      const after = clusterOfManifests(store.snapshot(), { allowLockout });
      const impact = compareClusters(before, after);
      const reaches = { before: new Reaches(before), after: new Reaches(after) };
      const hosts = classesOf(before, after).flatMap((each) => (each.kind === "hosts" ? [each] : []));
      for (const node of store.table("nodes").values()) {
        for (const own of node.addresses) {
          const subject = after.partyAt(own);
          for (const address of everyAddress(store)) {
            const peer = after.partyAt(address);
            if (address.family !== own.family || peer.name === subject.name) continue;
            for (const [source, destination] of [
              [subject, peer],
              [peer, subject],
            ] as const) {
              const reach = reaches.after.between(source, destination);
              for (const flow of flows) {
                if (flow.protocol === (own.family === 4 ? "ICMPv6" : "ICMP")) continue;
                const packet = packetOf(flow);
                const piece = reach.find(
                  ({ protocol, first, last }) =>
                    protocol === packet.protocol && packet.port >= first && packet.port <= last,
                );
                const path = judgePath(after, source, destination, packet);
                const bad = path.egress?.verdict === "deny" || path.ingress?.verdict === "deny";
                seen.compared++;
                if (bad) seen.denied++;
                if (piece?.verdict !== (bad ? "deny" : path.verdict))
                  throw new Error(`${source.name} -> ${destination.name}: ${piece?.verdict}`);
              }
              if (peer.kind !== "node") continue;
              const change = compareReach(reaches.before.between(source, destination), reach);
              const titleOf = ({ name }: typeof peer | typeof subject) =>
                hosts.find(({ nodes }) => nodes.includes(name.slice("node/".length)))?.title;
              const cell = impact.cells.find(
                ({ from, to, family }) =>
                  from === titleOf(source) && to === titleOf(destination) && family === own.family,
              );
              if (!isUnchanged(change)) seen.changes++;
              if (JSON.stringify(cell?.change) !== (hosts.length === 0 ? undefined : JSON.stringify(change)))
                throw new Error(`${source.name} -> ${destination.name}: ${JSON.stringify(change)} is not told`);
            }
          }
        }
      }
    }),
    { numRuns: 80 },
  );
  t.log(JSON.stringify(seen));
  t.true(seen.compared > 1000 && seen.denied > 0 && seen.changes > 0);
});

test("an impact says for every pair of pods, and for nodes and outside, what changes", (t) => {
  let changes = 0;
  fc.assert(
    fc.property(clusterSteps, policyStep, policyStep, (steps, one, other) => {
      const before = new OfflineCluster(build([...steps, one]).snapshot());
      const store = build([...steps, other]);
      const after = new OfflineCluster(store.snapshot());
      const impact = compareClusters(before, after);
      const titles = new Map(
        classesOf(before, after).flatMap((each) =>
          each.kind === "pods" ? each.pods.map((pod): [string, string] => [pod, each.title]) : [],
        ),
      );
      const reaches = { before: new Reaches(before), after: new Reaches(after) };
      for (const { subject, peer } of ends(store, after)) {
        if (peer.kind !== "pod") continue;
        const change = compareReach(reaches.before.between(subject, peer), reaches.after.between(subject, peer));
        const cell = impact.cells.find(
          ({ from, to, family }) =>
            from === titles.get(subject.name) && to === titles.get(peer.name) && family === peer.address.family,
        );
        if (cell === undefined) throw new Error(`${subject.name} -> ${peer.name} is missing`);
        if (!isUnchanged(change)) changes++;
        if (JSON.stringify(cell.change) !== JSON.stringify(change)) {
          throw new Error(
            `${subject.name} -> ${peer.name}: ${JSON.stringify(cell.change)}, not ${JSON.stringify(change)}`,
          );
        }
      }
      for (const kind of changeKinds) {
        const told = impact.rows.some((row) => row.kind === kind);
        if (told !== impact.cells.some(({ change }) => change[kind].length > 0)) throw new Error(`${kind} is not told`);
      }
      const same = compareClusters(after, after);
      if (same.rows.length > 0) throw new Error("nothing changed");
    }),
    { numRuns: 120 },
  );
  t.log(`${changes} changes`);
  t.true(changes > 50);
});
