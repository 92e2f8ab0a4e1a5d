/** L7 visibility by annotation: which flows pass the proxy, and that no verdict is another one because of it. */
import test from "ava";
import type { ComputationOptions, ComputeResult } from "../../../../src/compute/index.ts";
import type { PodVisibility } from "../../../../src/model/tables.ts";
import { identityOf, judge } from "../../../support/kernel-verdict.ts";
import { address, Bench, pod, policy, setOf } from "../support.ts";

const at = (text: string) => ({ addresses: [address(text)] });
const visibility: readonly PodVisibility[] = [
  { direction: "egress", protocol: 6, port: 80, l7: "http" },
  { direction: "egress", protocol: 17, port: 53, l7: "dns" },
  { direction: "ingress", protocol: 6, port: 8080, l7: "http" },
];
const peers = ["10.1.2.2", "10.1.2.3", "192.168.0.1", "192.168.0.2", "203.0.113.9", "203.0.113.10"] as const;
const ports = [
  [6, 80],
  [6, 81],
  [6, 8080],
  [6, 8081],
  [17, 53],
  [17, 80],
  [132, 80],
  [1, 0x0800],
] as const;

function bench(spec: object | null, visible: boolean, options: Partial<ComputationOptions> = {}): ComputeResult {
  const made = new Bench(options)
    .local(pod("a", { ...at("10.1.1.2"), ...(visible && { visibility }) }))
    .pods(pod("b", { node: "n2", ...at("10.1.2.2") }), pod("c", { node: "n2", ...at("10.1.2.3") }));
  if (spec !== null) made.policies(policy("CiliumNetworkPolicy", { endpointSelector: {}, ...spec }));
  return made.compute();
}

function verdicts(result: ComputeResult): Readonly<Record<string, string>> {
  const all = (["ingress", "egress"] as const).flatMap((side) =>
    peers.flatMap((text) =>
      ports.map(([protocol, port]) => {
        const peer = address(text);
        const identity = identityOf(result.desired, peer);
        const way = `${side} ${text} ${protocol}/${port}`;
        return [way, judge(setOf(result, "a"), side, identity, { peer, protocol, port })] as const;
      }),
    ),
  );
  return Object.fromEntries(all);
}

const http = (path: string) => [{ ports: [{ port: "80", protocol: "TCP" }], rules: { http: [{ path }] } }];
const specs: Readonly<Record<string, object | null>> = {
  "no policy": null,
  "all is closed": { ingress: [{}], egress: [{}] },
  "one pod on any port": {
    ingress: [{ fromEndpoints: [{ matchLabels: { app: "b" } }] }],
    egress: [{ toEndpoints: [{ matchLabels: { app: "b" } }] }],
  },
  "prefixes, ranges, and a deny": {
    egress: [
      { toCIDR: ["203.0.113.0/24"], toPorts: [{ ports: [{ port: "50", endPort: 100, protocol: "ANY" }] }] },
      { toEntities: ["remote-node"] },
    ],
    egressDeny: [{ toCIDR: ["203.0.113.10/32"] }],
    ingress: [{ fromEntities: ["world", "host"] }],
  },
  "L7 rules of its own": {
    egress: [
      { toEndpoints: [{ matchLabels: { app: "b" } }], toPorts: http("/b") },
      { toEndpoints: [{ matchLabels: { app: "c" } }] },
    ],
  },
  "a deny where nothing else is closed": { ingressDeny: [{ fromCIDR: ["203.0.113.10/32"] }] },
};

for (const [what, spec] of Object.entries(specs)) {
  test(`${what}: what is open passes the proxy on ports that are visible, and nothing opens or closes`, (t) => {
    const plain = verdicts(bench(spec, false));
    const seen = verdicts(bench(spec, true));
    const isVisible = (way: string) =>
      /^egress .* (6\/80|17\/53)$|^ingress .* 6\/8080$/.test(way) && !/^ingress 192\.168\.0\.1 /.test(way);
    for (const [way, before] of Object.entries(plain)) {
      t.is(seen[way], before === "allow" && isVisible(way) ? "redirect" : before, way);
    }
    t.is(Object.values(seen).includes("redirect"), what !== "all is closed");
    t.deepEqual(verdicts(bench(spec, true, { visibility: false })), plain, "no proxy: as without");
  });
}

test("what is visible demands nothing, and pods of one identity with other annotations have sets of their own", (t) => {
  const result = new Bench()
    .local(
      pod("a", { ...at("10.1.1.2"), visibility }),
      pod("b", { labels: { app: "a" }, ...at("10.1.1.3") }),
      pod("c", { labels: { app: "a" }, ...at("10.1.1.4"), visibility: [...visibility].reverse() }),
    )
    .compute();
  t.deepEqual(setOf(result, "a").egress.demands, ['dns [{"matchPattern":"*"}]', "http [{}]"]);
  t.is(setOf(result, "c"), setOf(result, "a"));
  t.is(setOf(result, "b").egress.demands, undefined);
});
