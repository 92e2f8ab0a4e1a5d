/** The compiled bit vectors, looked up as the kernel does, against the plain reading of the same policies. */
import test from "ava";
import fc from "fast-check";
import type { Address } from "../../../src/model/ip.ts";
import type { TableStore } from "../../../src/model/store.ts";
import { address, strangers } from "../../support/arbitrary-rows.ts";
import { build, clusterSteps, flows } from "../../support/arbitrary-cluster.ts";
import { ComputedCluster, isLive } from "../../support/compute-cluster.ts";
import { type Flow, ReferencePolicy } from "../../support/reference-policy.ts";

const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

function everyAddress(store: TableStore): readonly Address[] {
  const nodes = [...store.table("nodes").values()].flatMap(({ addresses }) => addresses);
  const pods = [...store.table("pods").values()].filter(isLive).flatMap(({ addresses }) => addresses);
  return [...nodes, ...pods, ...strangers.map(address)];
}

function packetPort({ protocol, number }: Flow): number {
  return protocol === "ICMP" || protocol === "ICMPv6" ? number << 8 : number;
}

test("every verdict of the compiled sets is the reference's, for all pods, peers, directions and ports", (t) => {
  let verdicts = 0;
  const seen = { allow: 0, deny: 0, redirect: 0 };
  fc.assert(
    fc.property(clusterSteps, (steps) => {
      const store = build(steps);
      const cluster = new ComputedCluster(store);
      const invalid = cluster.result("n1").policies.filter(({ valid }) => !valid);
      if (invalid.length > 0) throw new Error(JSON.stringify(invalid.map(({ problems }) => problems)));
      const reference = new ReferencePolicy(store);
      for (const pod of [...store.table("pods").values()].filter(isLive)) {
        for (const peer of everyAddress(store)) {
          const own = pod.addresses.find(({ family }) => family === peer.family);
          if (own === undefined || pod.addresses.some(({ text }) => text === peer.text)) continue;
          for (const flow of flows) {
            if (flow.protocol === (peer.family === 4 ? "ICMPv6" : "ICMP")) continue;
            for (const side of ["ingress", "egress"] as const) {
              const expected = reference.judge(pod, side, peer, flow);
              const packet = { peer, protocol: protocols[flow.protocol], port: packetPort(flow) };
              const verdict = cluster.judgeEnd(own, side, packet);
              verdicts++;
              seen[verdict]++;
              if (verdict === expected) continue;
              const policies = JSON.stringify([...store.table("policies").values()]);
              throw new Error(
                `${side} of ${pod.namespace}/${pod.name}, peer ${peer.text}, ${flow.protocol} ${flow.number}: ${verdict}, not ${expected}\n${policies}`,
              );
            }
          }
        }
      }
    }),
    { numRuns: 300 },
  );
  t.log(`${verdicts} verdicts: ${JSON.stringify(seen)}`);
  t.true(seen.allow > 1000 && seen.deny > 1000 && seen.redirect > 0, "all verdicts occur");
});
