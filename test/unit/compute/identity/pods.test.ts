import test from "ava";
import { identityDelayed, identityPending } from "../../../../src/compute/result.ts";
import { TandemError } from "../../../../src/lib/errors.ts";
import { address, Bench, pod, policy } from "../support.ts";

const labelsOf = (result: ReturnType<Bench["compute"]>, name: string) =>
  result.identities.find(({ id }) => id === result.identityOfPod.get(`shop/${name}`))?.labels;

test("pods of equal labels share an identity; labels that only tell replicas apart do not count", (t) => {
  const template = (hash: string) => ({ labels: { app: "web", "pod-template-hash": hash } });
  const result = new Bench().pods(pod("a", template("1")), pod("b", template("2")), pod("c")).compute();
  t.is(result.identityOfPod.get("shop/a"), result.identityOfPod.get("shop/b"));
  t.not(result.identityOfPod.get("shop/a"), result.identityOfPod.get("shop/c"));
  t.deepEqual(labelsOf(result, "a"), [
    "k8s:app=web",
    "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
    "k8s:io.cilium.k8s.policy.cluster=default",
    "k8s:io.cilium.k8s.policy.serviceaccount=default",
    "k8s:io.kubernetes.pod.namespace=shop",
  ]);
  t.is(result.identities.find(({ id }) => id === result.identityOfPod.get("shop/a"))?.references, 2);
});

test("a label that a policy names counts, so that a policy for one replica works", (t) => {
  const name = "statefulset.kubernetes.io/pod-name";
  const replica = (n: string) => pod(n, { labels: { app: "db", [name]: n } });
  const bench = new Bench().pods(replica("db-0"), replica("db-1"));
  const before = bench.compute();
  t.is(before.identityOfPod.get("shop/db-0"), before.identityOfPod.get("shop/db-1"));
  bench.policies(policy("NetworkPolicy", { podSelector: { matchLabels: { [name]: "db-0" } } }));
  const after = bench.compute();
  t.not(after.identityOfPod.get("shop/db-0"), after.identityOfPod.get("shop/db-1"));
  t.deepEqual(after.policies[0]?.pods, ["shop/db-0"]);
});

test("a pod cannot claim another namespace or service account by its labels", (t) => {
  const liar = { labels: { "io.kubernetes.pod.namespace": "bank", "io.cilium.k8s.policy.serviceaccount": "root" } };
  const labels = labelsOf(new Bench().pods(pod("a", liar)).compute(), "a");
  t.true(labels?.includes("k8s:io.kubernetes.pod.namespace=shop"));
  t.true(labels?.includes("k8s:io.cilium.k8s.policy.serviceaccount=default"));
});

test("a changed label of the namespace changes the identity of its pods", (t) => {
  const bench = new Bench().pods(pod("a"));
  const before = bench.compute();
  bench.store.upsert("namespaces", "shop", { name: "shop", labels: { team: "red" } });
  t.not(bench.compute().identityOfPod.get("shop/a"), before.identityOfPod.get("shop/a"));
});

test("without a number left a pod stays closed, the others go on, and it gets one as soon as there is one", (t) => {
  let left = 1;
  const numbers = new Map<string, number>();
  const numberFor = (key: string): number => {
    const number = numbers.get(key) ?? 300 + numbers.size;
    if (!numbers.has(key) && left-- <= 0) {
      throw new TandemError({
        code: "IDENTITIES_EXHAUSTED",
        object: key,
        message: "none left",
        remedy: "fewer labels",
      });
    }
    numbers.set(key, number);
    return number;
  };
  const bench = new Bench({ identities: { numberFor } }).local(
    pod("a", { addresses: [address("10.1.1.2")] }),
    pod("b", { addresses: [address("10.1.1.3")] }),
  );
  const result = bench.compute();
  t.deepEqual(
    result.desired.endpoints.map(({ set, identity }) => [set, identity]),
    [
      ["300", 300],
      [null, 5],
    ],
  );
  t.deepEqual(
    result.problems.map(({ code, object }) => `${code} ${object}`),
    ["IDENTITIES_EXHAUSTED Pod shop/b"],
  );
  t.false(result.desired.identities.has("10.1.1.3"), "nobody is taken for it");
  left = 1;
  t.is(bench.compute().desired.endpoints[1]?.set, "301");
});

test("errors of the allocator that are not about numbers are passed on", (t) => {
  const numberFor = () => {
    throw new RangeError("a defect");
  };
  t.throws(() => new Bench({ identities: { numberFor } }).pods(pod("a")).compute(), { instanceOf: RangeError });
});

/** An allocator that says what the test wants it to. */
function toldAllocator(answers: Map<string, number | string>) {
  const asked: string[] = [];
  const changed = new Set<string>();
  const appOf = (key: string) => /k8s:app=(.*)/.exec(key)?.[1] ?? "";
  const identities = {
    numberFor: (key: string, node: string): number => {
      asked.push(`${appOf(key)} on ${node}`);
      const answer = answers.get(appOf(key)) ?? 300;
      if (typeof answer === "number") return answer;
      throw new TandemError({ code: answer, object: key, message: "not yet", remedy: "wait" });
    },
    *renumbered() {
      for (const key of changed) yield key;
      changed.clear();
    },
  };
  const keyOf = (result: ReturnType<Bench["compute"]>, id: number) => result.identitiesInUse.get(id)?.key ?? "";
  return { identities, asked, changed, keyOf };
}

test("a number that is on its way is no problem, one that does not come is a warning, and the pod is closed until then", (t) => {
  const answers = new Map<string, number | string>([["a", identityPending]]);
  const { identities, asked } = toldAllocator(answers);
  const bench = new Bench({ identities }).local(pod("a", { addresses: [address("10.1.1.2")] }));
  const waiting = bench.compute();
  t.deepEqual(waiting.problems, []);
  t.like(waiting.desired.endpoints[0], { set: null, identity: 5 });
  t.deepEqual(asked, ["a on n1"]);

  answers.set("a", identityDelayed);
  t.deepEqual(
    bench.compute().problems.map(({ code, severity, object }) => `${severity} ${code} ${object}`),
    ["warning IDENTITY_DELAYED Pod shop/a"],
  );
  answers.set("a", 400);
  const given = bench.compute();
  t.deepEqual(given.problems, []);
  t.like(given.desired.endpoints[0], { set: "400", identity: 400 });
});

test("pods follow a number that became another, also when another set of labels has the old one now", (t) => {
  const answers = new Map<string, number | string>([
    ["a", 400],
    ["b", 500],
  ]);
  const { identities, changed, keyOf } = toldAllocator(answers);
  const twin = { labels: { app: "a" } };
  const bench = new Bench({ identities }).pods(pod("a"), pod("a2", twin), pod("b"));
  const before = bench.compute();
  answers.set("a", 300).set("b", 400);
  changed.add(keyOf(before, 400)).add(keyOf(before, 500));
  const after = bench.compute();
  t.deepEqual(Object.fromEntries(after.identityOfPod), { "shop/a": 300, "shop/a2": 300, "shop/b": 400 });
  t.deepEqual([...after.identitiesInUse].map(([id, { key }]) => [id, key]).sort(), [
    [300, keyOf(before, 400)],
    [400, keyOf(before, 500)],
  ]);
  // What is counted stays right: the last pod of a set frees its number.
  bench.store.delete("pods", "shop/a");
  t.deepEqual([...bench.compute().identitiesInUse.keys()].sort(), [300, 400]);
  bench.store.delete("pods", "shop/a2");
  t.deepEqual([...bench.compute().identitiesInUse.keys()], [400]);
});

test("a number that is taken away closes its pods until there is another; one that stayed changes nothing", (t) => {
  const answers = new Map<string, number | string>([
    ["a", 400],
    ["b", 500],
  ]);
  const { identities, changed, keyOf } = toldAllocator(answers);
  const bench = new Bench({ identities }).pods(pod("a"), pod("b"));
  const before = bench.compute();
  changed.add(keyOf(before, 400)).add(keyOf(before, 500));
  answers.set("a", identityPending);
  const without = bench.compute();
  t.deepEqual(Object.fromEntries(without.identityOfPod), { "shop/b": 500 });
  t.is(without.identitiesInUse.get(500), before.identitiesInUse.get(500), "the same as before");
  answers.set("a", 401);
  t.deepEqual(Object.fromEntries(bench.compute().identityOfPod), { "shop/a": 401, "shop/b": 500 });
});

test("a pod whose labels changed stays what it was until the new ones have a number; a new pod of its name does not", (t) => {
  const answers = new Map<string, number | string>([["a", 400]]);
  const { identities } = toldAllocator(answers);
  const bench = new Bench({ identities }).local(pod("a", { uid: "1", addresses: [address("10.1.1.2")] }));
  bench.compute();
  const relabelled = pod("a", { uid: "1", labels: { app: "b" }, addresses: [address("10.1.1.2")] });
  for (const code of [identityPending, identityDelayed]) {
    answers.set("b", code);
    const waiting = bench.pods(relabelled).compute();
    t.like(waiting.desired.endpoints[0], { set: "400", identity: 400 });
    t.deepEqual([...waiting.identitiesInUse.keys()], [400]);
    t.deepEqual(
      waiting.problems.map((problem) => problem.code),
      code === identityDelayed ? [code] : [],
    );
  }
  answers.set("b", "IDENTITIES_EXHAUSTED");
  t.like(bench.compute().desired.endpoints[0], { set: null, identity: 5 }, "what is known to have no number is closed");
  answers.set("b", 500);
  t.like(bench.compute().desired.endpoints[0], { set: "500", identity: 500 });

  answers.set("c", identityPending);
  bench.pods(pod("a", { uid: "2", labels: { app: "c" }, addresses: [address("10.1.1.2")] }));
  const renewed = bench.compute();
  t.deepEqual(Object.fromEntries(renewed.identityOfPod), {});
  t.deepEqual([...renewed.identitiesInUse.keys()], []);
});

test("labels that count since a policy names them cut nobody off while their numbers are on their way", (t) => {
  const name = "statefulset.kubernetes.io/pod-name";
  const answers = new Map<string, number | string>([["db", 400]]);
  const { identities } = toldAllocator(answers);
  const bench = new Bench({ identities }).pods(
    pod("db-0", { labels: { app: "db", [name]: "db-0" } }),
    pod("db-1", { labels: { app: "db", [name]: "db-1" } }),
  );
  bench.compute();
  answers.set("db", identityPending);
  bench.policies(policy("NetworkPolicy", { podSelector: { matchLabels: { [name]: "db-0" } } }));
  t.deepEqual(Object.fromEntries(bench.compute().identityOfPod), { "shop/db-0": 400, "shop/db-1": 400 });
  answers.set("db", 401);
  t.is(bench.compute().identityOfPod.get("shop/db-0"), 401);
});
