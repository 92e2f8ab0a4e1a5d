import test from "ava";
import { unusedSince } from "../../../src/identities/index.ts";
import { kinds } from "../../../src/kube/index.ts";
import { gcIntervalMs, identity, identityGraceMs, leading, names, pod, shop } from "./leading.ts";

const kind = kinds.ciliumIdentities;
const grace = identityGraceMs + 2 * gcIntervalMs;

test("an identity that nobody uses is marked, and deleted after the grace time; those of pods and endpoints stay", async (t) => {
  const { clock, cluster, counters, lead } = leading(t);
  shop(cluster);
  cluster.put(kinds.pods, pod("web-0", { app: "web", "pod-template-hash": "1" }));
  cluster.put(kinds.ciliumEndpoints, {
    metadata: { namespace: "shop", name: "web-0" },
    status: { identity: { id: 500 } },
  });
  cluster.put(kind, identity(400, { app: "web" }));
  cluster.put(kind, identity(500, { app: "only-an-endpoint" }));
  cluster.put(kind, identity(600, { app: "gone" }));
  await lead();
  t.is(typeof cluster.find(kind, "600")?.metadata.annotations?.[unusedSince], "string");
  await clock.advance(identityGraceMs - gcIntervalMs);
  t.deepEqual(names(cluster, kind), ["400", "500", "600"]);
  await clock.advance(3 * gcIntervalMs);
  t.deepEqual(names(cluster, kind), ["400", "500"]);
  t.deepEqual(
    cluster.writes(kind),
    ["patch 600 by operator", "delete 600 by operator"],
    "and nothing else was touched",
  );
  t.is(counters.get("identities_deleted_total"), 1);
});

test("what is used again before it is deleted stays and loses its mark", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  cluster.put(kind, identity(400, { app: "web" }));
  await lead();
  await clock.advance(identityGraceMs / 2);
  cluster.put(kinds.pods, pod("web-0", { app: "web" }));
  await clock.advance(gcIntervalMs);
  t.is(cluster.find(kind, "400")?.metadata.annotations?.[unusedSince], undefined);
  cluster.remove(kinds.pods, "shop/web-0");
  await clock.advance(identityGraceMs - gcIntervalMs);
  t.deepEqual(names(cluster, kind), ["400"], "the grace time began anew");
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), []);
});

test("an agent that takes the mark away while the deletion is on its way keeps the identity", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  const object = cluster.put(kind, identity(400, { app: "web" }));
  await lead();
  cluster.before = async ({ method }) => {
    if (method === "delete") cluster.put(kind, object);
  };
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), ["400"]);
  t.true(cluster.writes(kind).includes("delete 400 by operator"));
});

test("an identity that was made anew under its number is another one", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  cluster.put(kind, identity(400, { app: "web" }));
  await lead();
  let once = true;
  cluster.before = async ({ method }) => {
    if (method !== "delete" || !once) return;
    once = false;
    cluster.remove(kind, "400");
    cluster.put(kind, identity(400, { app: "new" }));
  };
  await clock.advance(grace);
  t.false(once);
  t.deepEqual(names(cluster, kind), ["400"]);
});

test("a new leader waits for the whole grace time, whatever a mark says", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  const marked = identity(400, { app: "web" });
  cluster.put(kind, { ...marked, metadata: { name: "400", annotations: { [unusedSince]: "2001-01-01T00:00:00Z" } } });
  await lead();
  await clock.advance(identityGraceMs / 2);
  await lead();
  await clock.advance(identityGraceMs - gcIntervalMs);
  t.deepEqual(names(cluster, kind), ["400"]);
  await clock.advance(3 * gcIntervalMs);
  t.deepEqual(names(cluster, kind), []);
});

test("a mark of the future, by a clock that was set, keeps no number for years", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  const marked = identity(400, { app: "web" });
  cluster.put(kind, { ...marked, metadata: { name: "400", annotations: { [unusedSince]: "2101-01-01T00:00:00Z" } } });
  await lead();
  await clock.advance(identityGraceMs - gcIntervalMs);
  t.deepEqual(names(cluster, kind), ["400"]);
  await clock.advance(3 * gcIntervalMs);
  t.deepEqual(names(cluster, kind), []);
});

test("nothing is deleted while the cluster is not followed, nor after the term", async (t) => {
  const { clock, cluster, lead, stop } = leading(t);
  shop(cluster);
  cluster.put(kind, identity(400, { app: "web" }));
  await lead();
  cluster.before = async ({ method, resource }) => {
    if (method === "watch" && resource === "pods") throw new Error("no watch today");
  };
  cluster.cut("operator");
  cluster.cut();
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), ["400"]);
  cluster.before = async () => undefined;
  await clock.advance(2 * gcIntervalMs);
  t.deepEqual(names(cluster, kind), [], "it was unused all the time");

  cluster.put(kind, identity(401, { app: "web" }));
  await clock.advance(gcIntervalMs);
  await stop();
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), ["401"]);
});

test("of two numbers for a set the higher one goes, unless an endpoint has it", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  cluster.put(kinds.pods, pod("web-0", { app: "web" }));
  for (const number of [400, 500, 600]) cluster.put(kind, identity(number, { app: "web" }));
  cluster.put(kinds.ciliumEndpoints, {
    metadata: { namespace: "shop", name: "web-0" },
    status: { identity: { id: 600 } },
  });
  await lead();
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), ["400", "600"]);
});

test("labels that only count because a policy names them keep an identity as long as a pod has them", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  const name = "statefulset.kubernetes.io/pod-name";
  cluster.put(kinds.pods, pod("db-0", { app: "db", [name]: "db-0" }));
  cluster.put(kind, identity(400, { app: "db", [name]: "db-0" }));
  cluster.put(kind, identity(401, { app: "db", [name]: "db-1" }));
  cluster.put(kind, identity(402, { app: "db" }));
  await lead();
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), ["400", "402"]);
});

test("pods that have ended or use their node's network are no use; identities of others and of other clusters are left alone", async (t) => {
  const { clock, cluster, lead } = leading(t);
  shop(cluster);
  cluster.put(kinds.pods, pod("done", { app: "job" }, { status: { phase: "Succeeded" } }));
  cluster.put(kinds.pods, pod("host", { app: "host" }, { spec: { hostNetwork: true, serviceAccountName: "default" } }));
  cluster.put(kind, identity(400, { app: "job" }));
  cluster.put(kind, identity(401, { app: "host" }));
  cluster.put(kind, identity((3 << 16) | 400, { app: "job" }));
  cluster.put(kind, { metadata: { name: "403" }, "security-labels": { "container:x": "y" } });
  await lead();
  await clock.advance(grace);
  t.deepEqual(names(cluster, kind), [String((3 << 16) | 400), "403"]);
});
