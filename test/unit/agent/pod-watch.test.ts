import test from "ava";
import { ignoredOf } from "../../../src/agent/ignored-annotations.ts";
import { PodWatch } from "../../../src/agent/pod-watch.ts";
import type { PodNotice } from "../../../src/model/pod-notices.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";
import type { LocalEndpointRow, PodRow } from "../../../src/model/tables.ts";
import { address, pod } from "../compute/support.ts";
import { ManualClock } from "../../support/manual-clock.ts";

function node(t: { teardown: (work: () => Promise<void>) => void }) {
  const store = new TableStore();
  const clock = new ManualClock();
  const told: PodNotice[] = [];
  const state: { problems: readonly Problem[] } = { problems: [] };
  const watch = new PodWatch({
    store,
    nodeName: "n1",
    ignored: (each) => ignoredOf(each, { cniChained: [], l7Proxy: "off" }),
    conditions: {
      report: (_topic, problems) => {
        state.problems = problems;
      },
    },
    notices: { notice: (notice) => void told.push(notice) },
    clock,
  });
  t.teardown(() => watch.stop());
  const put = (name: string, more: Partial<PodRow> = {}) => {
    store.upsert("pods", `shop/${name}`, pod(name, { uid: `uid-${name}`, addresses: [address("10.1.1.2")], ...more }));
  };
  const wire = (name: string, uid: string | null = `uid-${name}`) => {
    const row: LocalEndpointRow = {
      pod: `shop/${name}`,
      uid,
      containerId: name,
      id: 1,
      ifindex: 9,
      ifname: "eth0",
      netns: "/run/netns/x",
      ipv4: address("10.1.1.2"),
      ipv6: null,
      podMac: "",
      hostMac: "",
      policyAuditMode: null,
    };
    store.upsert("localEndpoints", name, row);
  };
  const unmanaged = () => watch.unmanaged().map(({ name }) => name);
  return { store, clock, told, state, watch, put, wire, unmanaged };
}

test("a running pod of this node that Tandem gave no network is told of: as a condition, and on the pod", async (t) => {
  const { clock, told, state, watch, put, wire, unmanaged } = node(t);
  put("before");
  put("managed");
  wire("managed");
  put("host", { hostNetwork: true });
  put("done", { phase: "Succeeded" });
  put("starting", { addresses: [] });
  put("elsewhere", { node: "n2" });
  watch.start();
  await clock.advance(29_000);
  t.deepEqual([unmanaged(), state.problems], [[], []], "not at once: its objects and its ADD come in any order");
  await clock.advance(15_000);
  t.deepEqual(unmanaged(), ["before"]);
  t.like(state.problems[0], { code: "POD_UNMANAGED", severity: "warning", object: "Node n1" });
  t.regex(state.problems[0]?.message ?? "", /^1 pod has .* shop\/before$/);
  t.is(state.problems.length, 1);
  t.deepEqual(
    told.map((each) => [each.pod.uid, each.type, each.reason]),
    [["uid-before", "Warning", "Unmanaged"]],
  );
  await clock.advance(1_000_000);
  t.is(told.length, 1, "not again and again");
  wire("before");
  await clock.advance(11_000);
  t.deepEqual([unmanaged(), state.problems], [[], []]);
});

test("a pod whose ADD comes within the grace is not told of, nor one that ends", async (t) => {
  const { store, clock, told, watch, put, wire, unmanaged } = node(t);
  watch.start();
  put("web");
  await clock.advance(20_000);
  wire("web");
  await clock.advance(100_000);
  store.delete("localEndpoints", "web");
  await clock.advance(100_000);
  t.deepEqual([unmanaged(), told], [[], []], "its network went before its object");
  put("web", { addresses: [address("10.1.1.77")] });
  await clock.advance(100_000);
  t.deepEqual(unmanaged(), ["web"], "somebody else made it a network");
  store.delete("pods", "shop/web");
  await clock.advance(11_000);
  t.deepEqual(unmanaged(), []);
});

test("another pod of the same name is a pod of its own", async (t) => {
  const { clock, watch, put, wire, unmanaged } = node(t);
  put("web", { uid: "uid-new" });
  wire("web", "uid-old");
  watch.start();
  await clock.advance(60_000);
  t.deepEqual(unmanaged(), ["web"]);
});

test("a few names stand for many pods", async (t) => {
  const { clock, state, watch, put } = node(t);
  for (let at = 0; at < 40; at++) put(`web-${String(at).padStart(2, "0")}`);
  watch.start();
  await clock.advance(60_000);
  t.is(state.problems.length, 1);
  t.regex(state.problems[0]?.message ?? "", /^40 pods have .*shop\/web-00, .*shop\/web-04 and 35 more$/);
});

test("bandwidth annotations are told once for a pod, and again for the next of its name", async (t) => {
  const { clock, told, watch, put, wire } = node(t);
  watch.start();
  const limited = { bandwidth: ["kubernetes.io/ingress-bandwidth"] };
  put("web", limited);
  wire("web", null);
  await clock.advance(2_000);
  put("web", { ...limited, labels: { changed: "yes" } });
  await clock.advance(100_000);
  t.deepEqual(
    told.map(({ reason, message }) => [reason, message]),
    [["BandwidthIgnored", "annotation kubernetes.io/ingress-bandwidth has no effect: Tandem does not limit bandwidth"]],
  );
  put("web", { ...limited, uid: "uid-next" });
  await clock.advance(11_000);
  t.is(told.length, 2);
});
