import fc from "fast-check";
import test from "ava";
import { type KindReport, PolicyDigest, type PolicyVersion } from "../../../src/kube-objects/index.ts";
import { PolicyProgress } from "../../../src/operator/policy-status-progress.ts";
import { PolicyStates } from "../../../src/operator/policy-status-states.ts";

type World = ReadonlyMap<string, PolicyVersion & { readonly valid: boolean }>;

const digestOf = (policies: Iterable<PolicyVersion>) => {
  const digest = new PolicyDigest();
  for (const policy of policies) digest.add(policy);
  return digest.text;
};

/** As an agent says it whose kernel is at this world. */
function reportOf(world: World, named = 20, broken: readonly string[] = []): KindReport {
  const failing = [...world].filter(([key, { valid }]) => !valid || broken.includes(key));
  return {
    count: world.size,
    digest: digestOf(world.values()),
    failing: {
      count: failing.length,
      digest: digestOf(failing.map(([, policy]) => policy)),
      keys: failing.map(([key]) => key).slice(0, named),
    },
  };
}

interface Change {
  readonly key: string;
  readonly gone: boolean;
  readonly valid: boolean;
}

/** The worlds that a kind goes through; a policy that is made anew has another uid, one that is edited another generation. */
function history(changes: readonly Change[]): readonly World[] {
  const worlds: World[] = [new Map()];
  for (const [at, { key, gone, valid }] of changes.entries()) {
    const next = new Map(worlds.at(-1));
    const before = next.get(key);
    if (gone) next.delete(key);
    else if (before === undefined) next.set(key, { uid: `${key}-${at}`, generation: 1, valid });
    else next.set(key, { ...before, generation: before.generation + 1, valid });
    worlds.push(next);
  }
  return worlds;
}

/** As a leader goes from one world to a later one that it hears of as a whole, or change by change. */
function follow(states: PolicyStates, from: World, to: World): void {
  for (const key of from.keys()) if (!to.has(key)) states.remove(key);
  for (const [key, policy] of to) states.put(key, policy, policy.valid);
}

const changes = fc.array(
  fc.record({
    key: fc.constantFrom("a", "b", "c", "d"),
    gone: fc.boolean(),
    valid: fc.boolean(),
  }),
  { minLength: 1, maxLength: 25 },
);

test("whatever states leader and agents skip, nobody is counted who never had a policy, and all are who are where the leader is", (t) => {
  const moves = fc.array(fc.record({ who: fc.nat(3), by: fc.integer({ min: 1, max: 4 }) }), { maxLength: 40 });
  fc.assert(
    fc.property(changes, moves, fc.constantFrom(0, 20), (made, steps, named) => {
      const worlds = history(made);
      const states = new PolicyStates();
      const progress = new PolicyProgress(states);
      // The first is the leader.
      const at = [0, 0, 0, 0];
      /** Worlds that each agent has been at. */
      const been = [[0], [0], [0], [0]];
      for (const { who, by } of steps) {
        const next = Math.min((at[who] ?? 0) + by, worlds.length - 1);
        if (who === 0) follow(states, worlds[at[0] ?? 0] as World, worlds[next] as World);
        at[who] = next;
        been[who]?.push(next);
        const agents = new Map([1, 2, 3].map((n) => [`n${n}`, reportOf(worlds[at[n] ?? 0] as World, named)] as const));
        progress.look(agents, 0);
        const leader = worlds[at[0] ?? 0] as World;
        for (const [key, policy] of leader) {
          const { enforcing, failing, wanted } = progress.counts({ key, ...policy });
          t.is(wanted, 3);
          const has = (world: World | undefined) => {
            const found = world?.get(key);
            return found?.uid === policy.uid && found.generation === policy.generation;
          };
          const had = [1, 2, 3].filter((n) => been[n]?.some((index) => has(worlds[index])));
          t.true(enforcing + failing.length <= had.length);
          if (policy.valid) t.deepEqual(failing, []);
          else t.is(enforcing, 0);
          const level = [1, 2, 3].filter((n) => at[n] === at[0]);
          t.true(enforcing + failing.length >= level.length);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("an agent that is some states behind counts for what it has, and not for what came later", (t) => {
  const worlds = history(["a", "b", "c"].map((key) => ({ key, gone: false, valid: true })));
  const states = new PolicyStates();
  const progress = new PolicyProgress(states);
  for (let n = 1; n < worlds.length; n++) follow(states, worlds[n - 1] as World, worlds[n] as World);
  progress.look(new Map([["n1", reportOf(worlds[2] as World)]]), 0);
  const last = [...(worlds[3] as World)].map(([key, policy]) => progress.counts({ key, ...policy }).enforcing);
  t.deepEqual(last, [1, 1, 0]);
});

test("what is not recognised is undetermined for a while, and then not counted; an agent that was further stays there", (t) => {
  const worlds = history(["a", "b"].map((key) => ({ key, gone: false, valid: true })));
  const states = new PolicyStates();
  const progress = new PolicyProgress(states);
  const [, one, two] = worlds as [World, World, World];
  follow(states, new Map(), one);
  const unknown = { ...reportOf(one), digest: "f".repeat(32) };
  progress.look(
    new Map([
      ["known", reportOf(one)],
      ["unknown", unknown],
    ]),
    0,
  );
  const [key, policy] = [...one][0] as [string, PolicyVersion & { valid: boolean }];
  t.like(progress.counts({ key, ...policy }), { wanted: 2, enforcing: 1, undetermined: 1 });
  follow(states, one, two);
  // The first one says something unknown too, but had it before.
  const both = new Map([
    ["known", unknown],
    ["unknown", unknown],
  ]);
  progress.look(both, 30_000);
  t.like(progress.counts({ key, ...policy }), { enforcing: 1, undetermined: 1 });
  progress.look(both, 61_000);
  t.like(progress.counts({ key, ...policy }), { wanted: 2, enforcing: 1, undetermined: 0 });
});

test("an agent that starts anew stays where it was until it tells, and one that is gone is not counted", (t) => {
  const [none, one] = history([{ key: "a", gone: false, valid: true }]) as [World, World];
  const states = new PolicyStates();
  const progress = new PolicyProgress(states);
  follow(states, none, one);
  const policy = { key: "a", ...(one.get("a") as PolicyVersion & { valid: boolean }) };
  progress.look(
    new Map([
      ["n1", reportOf(one)],
      ["n2", null],
    ]),
    0,
  );
  t.like(progress.counts(policy), { wanted: 1, enforcing: 1 }, "the second one has not told of any policy yet");
  progress.look(new Map([["n1", null]]), 1);
  t.like(progress.counts(policy), { wanted: 1, enforcing: 1 });
  progress.look(new Map(), 2);
  t.like(progress.counts(policy), { wanted: 0, enforcing: 0 });
});

test("an agent of another version that refuses a valid policy fails, by name; where it names only some, the rest is undetermined", (t) => {
  const worlds = history(["a", "b"].map((key) => ({ key, gone: false, valid: true })));
  const world = worlds.at(-1) as World;
  const states = new PolicyStates();
  const progress = new PolicyProgress(states);
  follow(states, new Map(), world);
  const counts = (key: string) => progress.counts({ key, ...(world.get(key) as PolicyVersion & { valid: boolean }) });
  progress.look(new Map([["n1", reportOf(world, 20, ["b"])]]), 0);
  t.like(counts("a"), { enforcing: 1, failing: [] });
  t.like(counts("b"), { enforcing: 0, failing: ["n1"] });
  progress.look(new Map([["n1", reportOf(world, 1, ["a", "b"])]]), 0);
  t.like(counts("a"), { failing: ["n1"] });
  t.like(counts("b"), { enforcing: 0, failing: [], undetermined: 1 });
});

test("states are remembered up to a limit, the newest ones", (t) => {
  const states = new PolicyStates(3);
  const digests = ["a", "b", "c", "d"].map((_, n) => {
    const policies = ["a", "b", "c", "d"].slice(0, n + 1).map((uid) => ({ uid, generation: 1 }));
    states.put(`key-${n}`, policies[n] as PolicyVersion, true);
    return digestOf(policies);
  });
  t.deepEqual(
    digests.map((digest) => states.find(digest) !== null),
    [false, true, true, true],
  );
});
