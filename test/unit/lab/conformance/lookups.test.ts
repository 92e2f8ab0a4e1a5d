import test from "ava";
import type { Attempt } from "../../../../src/lab/conformance/attempts.ts";
import { Lookups } from "../../../../src/lab/conformance/lookups.ts";
import { Outcomes } from "../../../../src/lab/conformance/outcomes.ts";
import type { Outcome } from "../../../../src/lab/conformance/outcome.ts";

const lookup = (name: string): Attempt => ({
  place: "shop/front",
  protocol: "udp",
  asked: { kind: "dns", name, type: "A" },
  source: "10.244.1.11",
  destination: "198.18.0.10",
  port: 53,
  servers: ["outside"],
  arrivesAt: null,
});

/** What a client learns whose questions come to this. */
async function learned(answers: Readonly<Record<string, Outcome | null>>) {
  const outcomes = new Outcomes();
  const asked: number[] = [];
  const client = {
    try: (attempts: readonly (Attempt & { readonly id: number })[]) => {
      for (const { id, place, asked: question } of attempts) {
        asked.push(id);
        const outcome = question?.kind === "dns" ? answers[question.name] : null;
        if (outcome) outcomes.take({ id, place, outcome });
      }
    },
  };
  const lookups = new Lookups(Object.keys(answers).map(lookup), new Map([["shop/front", client]]), outcomes);
  await lookups.all(20);
  return { lookups, asked };
}

test("a name counts as learned when the run's own server has answered, and for who asked it", async (t) => {
  const { lookups } = await learned({
    "a.test": { kind: "answer", name: "outside", ms: 1 },
    "b.test": { kind: "answer", name: "kube-system/coredns-0", ms: 1 },
    "c.test": { kind: "forbidden", how: "REFUSED", ms: 1 },
    "d.test": null,
  });
  t.deepEqual(lookups.missing("shop/front", ["a.test", "b.test", "c.test", "d.test"]), ["b.test", "c.test", "d.test"]);
  t.deepEqual(lookups.missing("shop/cart", ["a.test"]), ["a.test"]);
});

test("nobody asks again while an answer is on its way, or right after one", async (t) => {
  const waiting = await learned({ "a.test": null });
  waiting.lookups.repeat();
  t.is(waiting.asked.length, 1);
  const answered = await learned({ "a.test": { kind: "answer", name: "outside", ms: 1 } });
  answered.lookups.repeat();
  t.is(answered.asked.length, 1);
});
