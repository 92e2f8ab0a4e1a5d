import test from "ava";
import { Pulse } from "../../../src/kube/pulse.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const server = "https://api.test";

/** Watches by name, and what became of them, as "pods KUBE_SILENT". */
function pulse() {
  const clock = new ManualClock();
  const told: string[] = [];
  const heart = new Pulse(clock, () => 0.5);
  return {
    clock,
    heart,
    told,
    follow: (name: string) => {
      const watch = heart.follow(({ code }) => {
        told.push(`${name} ${code}`);
        watch.ended();
      });
      return watch;
    },
    /** A request that is given up after 8 s. */
    missed: async () => {
      const sentAt = clock.monotonicMs();
      await clock.advance(8_000);
      heart.unanswered(server, sentAt);
    },
  };
}

test("two requests without an answer, and nothing else heard: every watch is given up, within 30 s", async (t) => {
  const { clock, follow, missed, told } = pulse();
  follow("pods");
  follow("nodes");
  const began = clock.monotonicMs();
  await clock.advance(10_000);
  await missed();
  t.deepEqual(told, [], "one request may have been lost alone");
  await clock.advance(1_000);
  await missed();
  t.deepEqual(told, ["pods KUBE_SILENT", "nodes KUBE_SILENT"]);
  t.true(clock.monotonicMs() - began < 30_000);
});

test("as long as something is heard the API server is not silent, however many requests it misses", async (t) => {
  const { clock, follow, missed, told } = pulse();
  const pods = follow("pods");
  follow("nodes");
  for (let round = 0; round < 5; round++) {
    await missed();
    pods.heard();
    await clock.advance(1_000);
  }
  t.deepEqual(told, []);
});

test("and it is when that ends, too", async (t) => {
  const { clock, follow, missed, told } = pulse();
  const pods = follow("pods");
  await missed();
  pods.heard();
  await clock.advance(1_000);
  await missed();
  t.deepEqual(told, []);
  await missed();
  t.deepEqual(told, ["pods KUBE_SILENT"]);
});

test("requests that were under way together are one piece of news", async (t) => {
  const { clock, heart, follow, told } = pulse();
  follow("pods");
  const sentAt = clock.monotonicMs();
  await clock.advance(8_000);
  heart.unanswered(server, sentAt);
  heart.unanswered(server, sentAt + 100);
  t.deepEqual(told, []);
});

test("answered again: watches that said nothing since are asked for again, unless they speak", async (t) => {
  const { clock, heart, follow, missed, told } = pulse();
  const [pods, nodes] = [follow("pods"), follow("nodes")];
  follow("services");
  await clock.advance(30_000);
  await missed();
  pods.heard();
  heart.answered(server);
  await clock.advance(1_000);
  nodes.heard();
  follow("policies");
  await clock.advance(15_000);
  t.deepEqual(told, ["services KUBE_DOUBT"]);
});

test("a server that is late again and again is not asked for watches again and again", async (t) => {
  const { clock, heart, follow, missed, told } = pulse();
  for (let round = 0; round < 10; round++) {
    follow(`watch-${round}`);
    await missed();
    heart.answered(server);
    await clock.advance(20_000);
  }
  t.deepEqual(told, ["watch-0 KUBE_DOUBT"]);
  await clock.advance(300_000);
  await missed();
  heart.answered(server);
  await clock.advance(20_000);
  t.is(told.length, 10);
});

test("a server that opens watches and answers nothing else, as without its etcd, is not asked for watches again and again", async (t) => {
  const { clock, heart, follow, missed, told } = pulse();
  follow("watch-0");
  for (let round = 1; round < 10; round++) {
    await missed();
    await clock.advance(10_000);
    await missed();
    await clock.advance(10_000);
    if (told.length !== 1) continue;
    // The one that was given up.
    heart.answered(server);
    follow(`watch-${round}`);
  }
  t.deepEqual(told, ["watch-0 KUBE_SILENT"]);
});

test("a watch that has ended is nobody's business", async (t) => {
  const { clock, heart, follow, missed, told } = pulse();
  const watch = follow("pods");
  await missed();
  heart.answered(server);
  watch.ended();
  await clock.advance(60_000);
  await missed();
  await missed();
  t.deepEqual(told, []);
});
