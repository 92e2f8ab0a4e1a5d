/** What is wrong with a Service is said on it, once, by one node of the cluster. */
import test from "ava";
import type { NoticeSink } from "../../../src/model/pod-notices.ts";
import type { Problem } from "../../../src/model/status.ts";
import { ServiceNotices, speakerOf } from "../../../src/publish/service-notices.ts";
import { node, service, tables } from "../compute/services/support.ts";

const names = Array.from({ length: 50 }, (_, i) => `worker-${i}`);
const services = [service("web", { uid: "1b7d" }), service("api", { uid: "77aa" }), service("file", {})];
const facts = tables({ services, nodes: names.map((name) => node(name, [])) });

const problem = (object: string, field = "spec.externalIPs"): Problem => ({
  code: "SERVICE_ADDRESS_REFUSED",
  severity: "error",
  object,
  field,
  message: "192.0.2.1 is an address of Node a",
  remedy: "use another",
});

/** What all nodes of the cluster say, with their names. */
function cluster() {
  const said: (readonly [string, Parameters<NoticeSink["notice"]>[0]])[] = [];
  const agents = names.map((name) => new ServiceNotices(name, { notice: (notice) => said.push([name, notice]) }));
  const tell = (problems: readonly Problem[]) => {
    said.length = 0;
    for (const agent of agents) agent.tell(problems, facts);
    return said.map(([, notice]) => notice);
  };
  return { tell, said };
}

test("one node says it, on the Service, with the remedy", (t) => {
  const { tell, said } = cluster();
  t.deepEqual(tell([problem("Service shop/web"), problem("Pod shop/web"), problem("Service shop/gone")]), [
    {
      service: { namespace: "shop", name: "web", uid: "1b7d" },
      type: "Warning",
      reason: "ServiceAddressRefused",
      message: "spec.externalIPs: 192.0.2.1 is an address of Node a (error; use another)",
    },
  ]);
  t.is(said[0]?.[0] ?? null, speakerOf("1b7d", names));
});

test("it is said when it comes, and again when it comes again", (t) => {
  const { tell } = cluster();
  const web = problem("Service shop/web");
  t.is(tell([web]).length, 1);
  t.is(tell([web, problem("Service shop/api")]).length, 1, "only what is new");
  t.is(tell([]).length, 0);
  t.is(tell([web]).length, 1);
});

test("a Service of a file has no Events", (t) => {
  t.is(cluster().tell([problem("Service shop/file")]).length, 0);
});

test("Services are spread over the nodes, and a node that goes takes its own with it alone", (t) => {
  const uids = Array.from({ length: 5_000 }, (_, i) => `uid-${i}`);
  const counts = new Map<string | null, number>();
  let moved = 0;
  for (const uid of uids) {
    const before = speakerOf(uid, names);
    counts.set(before, (counts.get(before) ?? 0) + 1);
    if (
      before !== "worker-7" &&
      speakerOf(
        uid,
        names.filter((name) => name !== "worker-7"),
      ) !== before
    )
      moved++;
    t.is(speakerOf(uid, [...names].reverse()), before);
  }
  t.is(moved, 0);
  t.is(counts.size, names.length);
  t.true(Math.max(...counts.values()) < 3 * (uids.length / names.length));
  t.is(speakerOf("x", []), null);
});
