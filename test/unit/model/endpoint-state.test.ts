import test from "ava";
import {
  type EndpointFacts,
  type EndpointState,
  endpointCondition,
  nextStates,
} from "../../../src/model/endpoint-state.ts";

const start: EndpointFacts = {
  computed: true,
  leaving: false,
  policy: "missing",
  isOpen: false,
  heldBack: null,
  pending: "none",
};

/** Each line: what changes, and the state that it makes. */
type Life = readonly (readonly [Partial<EndpointFacts>, EndpointState])[];

const lives: Readonly<Record<string, Life>> = {
  "a pod whose object is known": [
    [{}, "creating"],
    [{ policy: "known" }, "waiting-to-regenerate"],
    [{ isOpen: true }, "ready"],
    [{ leaving: true }, "disconnecting"],
  ],
  "a pod whose object comes late": [
    [{}, "creating"],
    [{ policy: "unknown" }, "waiting-for-identity"],
    [{ policy: "known" }, "waiting-to-regenerate"],
    [{ pending: "running" }, "regenerating"],
    [{ isOpen: true, pending: "none" }, "ready"],
  ],
  "a pod whose policy is refused, and mended": [
    [{ policy: "known", heldBack: "more than 512 groups" }, "not-ready"],
    [{ heldBack: null }, "waiting-to-regenerate"],
    [{ isOpen: true }, "ready"],
    [{ heldBack: "more than 512 groups" }, "waiting-to-regenerate"],
    [{ heldBack: null }, "ready"],
  ],
  "a pod over a restart of the agent": [
    [{ policy: "known", isOpen: true }, "ready"],
    [{ computed: false, policy: "missing", isOpen: false }, "restoring"],
    [{ computed: true, policy: "known", isOpen: true }, "ready"],
  ],
  "a pod while the agent is slow": [
    [{ policy: "known", isOpen: true }, "ready"],
    [{ pending: "waiting" }, "waiting-to-regenerate"],
    [{ pending: "running" }, "regenerating"],
    [{ pending: "none" }, "ready"],
  ],
};

for (const [name, life] of Object.entries(lives)) {
  test(`the life of ${name}`, (t) => {
    let facts = start;
    const states = life.map(([change]) => {
      facts = { ...facts, ...change };
      return endpointCondition(facts).state;
    });
    t.deepEqual(
      states,
      life.map(([, state]) => state),
    );
  });
}

test("what is not ready says why", (t) => {
  const refused = { ...start, policy: "known", heldBack: "more than 512 groups" } as const;
  t.is(endpointCondition(refused).reason, "more than 512 groups; it is closed");
  t.is(endpointCondition({ ...refused, isOpen: true }).reason, "more than 512 groups; it has the policy of before");
  t.truthy(endpointCondition({ ...start, policy: "unknown" }).reason);
  t.is(endpointCondition({ ...start, policy: "known", isOpen: true }).reason, null);
});

/** Values that a fact may have, and which may follow which: an agent does not unlearn, and an open pod is not closed again. */
const steps: { readonly [K in keyof EndpointFacts]: readonly (readonly [EndpointFacts[K], EndpointFacts[K]])[] } = {
  computed: [[false, true]],
  leaving: [[false, true]],
  policy: [
    ["missing", "unknown"],
    ["missing", "known"],
    ["unknown", "known"],
    ["known", "unknown"],
  ],
  isOpen: [[false, true]],
  heldBack: [
    [null, "x"],
    ["x", null],
  ],
  pending: (["none", "waiting", "running"] as const).flatMap((from) =>
    (["none", "waiting", "running"] as const).map((to) => [from, to] as const),
  ),
};

function* everything(): Iterable<EndpointFacts> {
  for (const computed of [false, true])
    for (const leaving of [false, true])
      for (const policy of ["missing", "unknown", "known"] as const)
        for (const isOpen of [false, true])
          for (const heldBack of [null, "x"])
            for (const pending of ["none", "waiting", "running"] as const)
              yield { computed, leaving, policy, isOpen, heldBack, pending };
}

test("one fact that changes leads to a state of the table, and every line of the table has such a fact", (t) => {
  const seen = new Map<EndpointState, Set<EndpointState>>();
  for (const facts of everything()) {
    for (const name of Object.keys(steps) as (keyof EndpointFacts)[]) {
      for (const [before, after] of steps[name]) {
        if (facts[name] !== before) continue;
        const from = endpointCondition(facts).state;
        const to = endpointCondition({ ...facts, [name]: after }).state;
        if (from !== to) seen.set(from, (seen.get(from) ?? new Set()).add(to));
      }
    }
  }
  for (const [from, next] of Object.entries(nextStates))
    t.deepEqual([...(seen.get(from as EndpointState) ?? [])].sort(), [...next].sort(), from);
});
