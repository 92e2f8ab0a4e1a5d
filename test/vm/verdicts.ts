/**
 * A small set of packets with the verdict that each must get, whatever the kernel: the VM runs it on an older one, and
 * test/kernel/programs/verdicts.test.ts on this machine's.
 */
import { echo, tcp, udp } from "../support/packets.ts";
import { families, type Family, podFrame, who, wireFrame } from "../support/programs-frames.ts";
import type { ProgramNode, Verdict } from "../support/programs.ts";
import { putPolicy, putService } from "../support/programs-maps.ts";

export interface Row {
  readonly title: string;
  readonly expected: Verdict;
  readonly run: (node: ProgramNode, family: Family) => Promise<{ readonly verdict: Verdict }>;
}

const syn = tcp(40000, 80, "S");
const web = { protocol: 6, port: 80, bits: 24 };
const virtual = { ipv4: "10.96.0.10", ipv6: "fd00:96::10" } as const;

/** Pod a may open port 80 of anybody, and nobody may open anything of it. */
function onlyWebOut(node: ProgramNode): void {
  putPolicy(node.maps, { set: 1, direction: "egress", allows: 1, peers: { 0: [0] }, ports: [{ ...web, groups: [0] }] });
  putPolicy(node.maps, { set: 1, direction: "ingress", ports: [] });
  node.enforce("a", "both");
}

export const rows: readonly Row[] = [
  {
    title: "to a pod of this node",
    expected: "redirect",
    run: (node, family) => node.fromPod("a", podFrame("a", who.a[family], who.b[family], syn)),
  },
  {
    title: "to a pod of another node",
    expected: "redirect",
    run: (node, family) => node.fromPod("a", podFrame("a", who.a[family], who.r[family], syn)),
  },
  {
    title: "to the node itself",
    expected: "stack",
    run: (node, family) => node.fromPod("a", podFrame("a", who.a[family], who.host[family], syn)),
  },
  {
    title: "with another pod's address",
    expected: "drop",
    run: (node, family) => node.fromPod("a", podFrame("a", who.b[family], who.r[family], syn)),
  },
  {
    title: "what policy allows",
    expected: "redirect",
    run: (node, family) => {
      onlyWebOut(node);
      return node.fromPod("a", podFrame("a", who.a[family], who.r[family], syn));
    },
  },
  {
    title: "what no rule allows",
    expected: "drop",
    run: (node, family) => {
      onlyWebOut(node);
      return node.fromPod("a", podFrame("a", who.a[family], who.r[family], udp(40000, 80)));
    },
  },
  {
    title: "the reply to what policy allows",
    expected: "redirect",
    run: async (node, family) => {
      onlyWebOut(node);
      await node.fromPod("a", podFrame("a", who.a[family], who.r[family], syn));
      return node.run("from_network", wireFrame(who.r[family], who.a[family], tcp(80, 40000, "SA")));
    },
  },
  {
    title: "a connection from outside that no rule allows",
    expected: "drop",
    run: (node, family) => {
      onlyWebOut(node);
      return node.run("from_network", wireFrame(who.r[family], who.a[family], syn));
    },
  },
  {
    title: "an echo request that no rule allows",
    expected: "drop",
    run: (node, family) => {
      onlyWebOut(node);
      return node.fromPod("a", podFrame("a", who.a[family], who.r[family], echo(who.r[family], "request", 7)));
    },
  },
  {
    title: "to a service with a backend",
    expected: "redirect",
    run: (node, family) => {
      const backends = [{ address: who.b[family], port: 80 }];
      putService(node.maps, { address: virtual[family], port: 80, protocol: 6, id: 9, backends });
      return node.fromPod("a", podFrame("a", who.a[family], virtual[family], syn));
    },
  },
  {
    title: "to a service without one",
    expected: "drop",
    run: (node, family) => {
      putService(node.maps, { address: virtual[family], port: 80, protocol: 6, id: 9, backends: [] });
      return node.fromPod("a", podFrame("a", who.a[family], virtual[family], syn));
    },
  },
  {
    title: "of a closed pod",
    expected: "drop",
    run: (node, family) => {
      node.putPod("a", { flags: 1 });
      return node.fromPod("a", podFrame("a", who.a[family], who.r[family], syn));
    },
  },
];

/** Runs every row for both families; calls back with what each gave. */
export async function runRows(
  node: ProgramNode,
  tell: (title: string, expected: Verdict, seen: Verdict) => void,
): Promise<void> {
  for (const family of families) {
    for (const { title, expected, run } of rows) {
      await node.reset();
      tell(`${title}, ${family}`, expected, (await run(node, family)).verdict);
    }
  }
}
