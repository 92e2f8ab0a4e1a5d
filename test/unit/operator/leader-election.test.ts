import test, { type ExecutionContext } from "ava";
import { kinds, type Lease } from "../../../src/kube/index.ts";
import type { Clock } from "../../../src/lib/clock.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { LeaderElection } from "../../../src/operator/leader-election.ts";
import type { Term } from "../../../src/operator/term.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryCluster, unreachable } from "../../support/memory-cluster.ts";

interface Candidate {
  readonly name: string;
  readonly election: LeaderElection;
  readonly terms: Term[];
  /** How often it learned that the API server's history is another one. */
  histories: number;
  /** Held after the end of the term, until the test lets it go. */
  finish: Promise<void>;
  fail: Error | null;
  stop(): Promise<void>;
}

function bench(t: ExecutionContext) {
  const clock = new ManualClock();
  const cluster = new MemoryCluster(clock);
  const candidates: Candidate[] = [];
  t.teardown(async () => {
    for (const candidate of candidates) {
      const stopped = candidate.stop();
      await clock.advance(0);
      await stopped;
    }
  });
  const candidate = (name: string, ownClock: Clock = clock): Candidate => {
    const stopping = new AbortController();
    const made: Candidate = {
      name,
      terms: [],
      histories: 0,
      finish: Promise.resolve(),
      fail: null,
      election: new LeaderElection({
        client: cluster.client(name),
        namespace: "kube-system",
        name: "tandem-operator",
        identity: name,
        leaseDurationMs: 15_000,
        renewDeadlineMs: 10_000,
        retryMs: 2_000,
        lead: async (term) => {
          made.terms.push(term);
          if (made.fail !== null) throw made.fail;
          await new Promise<void>((resolve) => term.signal.addEventListener("abort", () => resolve()));
          await made.finish;
        },
        onHistory: () => made.histories++,
        clock: ownClock,
        log: silentLogger,
        random: () => 0,
      }),
      stop: async () => {
        stopping.abort();
        await running;
      },
    };
    const running = made.election.run(stopping.signal);
    candidates.push(made);
    return made;
  };
  /** Who may act now. */
  const leaders = () => candidates.filter(({ terms }) => terms.some((term) => term.held())).map(({ name }) => name);
  const lease = () => (cluster.find(kinds.leases, "kube-system/tandem-operator") as Lease | null)?.spec;
  return { clock, cluster, candidate, leaders, lease };
}

test("the first to come leads and renews, the others wait, and the lease says who and since when", async (t) => {
  const { clock, candidate, leaders, lease } = bench(t);
  candidate("a");
  await clock.advance(0);
  candidate("b");
  t.like(lease(), { holderIdentity: "a", leaseDurationSeconds: 15, leaseTransitions: 0 });
  t.regex(lease()?.renewTime ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  const acquired = lease()?.acquireTime;
  for (let passed = 0; passed < 60; passed++) {
    await clock.advance(1_000);
    t.deepEqual(leaders(), ["a"]);
  }
  t.is(lease()?.acquireTime, acquired);
  t.not(lease()?.renewTime, acquired);
});

test("a leader that stops gives the lease back when its work has ended, and another one leads at once", async (t) => {
  const { clock, candidate, leaders, lease } = bench(t);
  const a = candidate("a");
  await clock.advance(0);
  candidate("b");
  await clock.advance(5_000);
  let finish = () => {};
  a.finish = new Promise((resolve) => {
    finish = resolve;
  });
  const stopped = a.stop();
  await clock.advance(3_000);
  t.like(lease(), { holderIdentity: "a" }, "not before the work has ended");
  t.deepEqual(leaders(), []);
  finish();
  await stopped;
  t.is(lease()?.holderIdentity, "");
  await clock.advance(2_000);
  t.deepEqual(leaders(), ["b"]);
  t.is(lease()?.leaseTransitions, 1);
});

test("a leader that cannot renew stops before another one may lead", async (t) => {
  const { clock, cluster, candidate, leaders, lease } = bench(t);
  candidate("a");
  await clock.advance(0);
  candidate("b");
  await clock.advance(5_000);
  cluster.cut("a");
  const history: string[] = [];
  for (let passed = 0; passed < 250; passed++) {
    await clock.advance(100);
    const now = leaders().join("+") || "-";
    if (history.at(-1) !== now) history.push(now);
  }
  t.deepEqual(history, ["a", "-", "b"]);
  cluster.cut();
  await clock.advance(60_000);
  t.deepEqual(leaders(), ["b"], "who was away does not take it back");
  t.is(lease()?.leaseTransitions, 1);
});

test("with the API server away nobody leads, and afterwards exactly one does", async (t) => {
  const { clock, cluster, candidate, leaders } = bench(t);
  candidate("a");
  await clock.advance(0);
  candidate("b");
  candidate("c");
  await clock.advance(4_000);
  cluster.cut("a", "b", "c");
  await clock.advance(11_000);
  t.deepEqual(leaders(), []);
  await clock.advance(100_000);
  cluster.cut();
  for (let passed = 0; passed < 200; passed++) {
    await clock.advance(100);
    t.true(leaders().length <= 1);
  }
  t.is(leaders().length, 1);
});

test("a renewal whose answer is lost is seen as our own, and leading goes on", async (t) => {
  const { clock, cluster, candidate, leaders } = bench(t);
  const a = candidate("a");
  await clock.advance(1_000);
  let lost = 2;
  cluster.after = async ({ method }) => {
    if (method === "update" && lost-- > 0) throw unreachable();
  };
  await clock.advance(30_000);
  t.deepEqual(leaders(), ["a"]);
  t.is(a.terms.length, 1);
});

test("a renewal that hangs does not make the term longer", async (t) => {
  const { clock, cluster, candidate, leaders, lease } = bench(t);
  const a = candidate("a");
  await clock.advance(1_000);
  let answer = () => {};
  const hanging = new Promise<void>((resolve) => {
    answer = resolve;
  });
  cluster.after = ({ by, method }) => (by === "a" && method === "update" ? hanging : Promise.resolve());
  await clock.advance(5_000);
  const { renewTime } = lease() ?? {};
  await clock.advance(6_000);
  t.deepEqual(leaders(), [], "written, but the leader does not know");
  t.is(lease()?.renewTime, renewTime);
  cluster.after = async () => undefined;
  answer();
  await clock.advance(5_000);
  t.deepEqual(leaders(), ["a"], "its own lease: it need not wait");
  t.is(a.terms.length, 2);
});

test("a lease that somebody else took or deleted ends the term at the next renewal", async (t) => {
  for (const meddle of ["take", "delete"] as const) {
    const { clock, cluster, candidate, leaders } = bench(t);
    const a = candidate("a");
    await clock.advance(1_000);
    if (meddle === "delete") cluster.remove(kinds.leases, "kube-system/tandem-operator");
    else {
      const spec = { holderIdentity: "somebody", leaseDurationSeconds: 15, renewTime: "2026-01-01T00:00:00.000000Z" };
      cluster.put(kinds.leases, { metadata: { namespace: "kube-system", name: "tandem-operator" }, spec });
    }
    await clock.advance(2_000);
    t.false(a.terms[0]?.held() ?? true);
    if (meddle === "take") {
      await clock.advance(12_000);
      t.deepEqual(leaders(), [], "until it is not renewed for its duration");
    }
    await clock.advance(10_000);
    t.deepEqual(leaders(), ["a"]);
  }
});

/** A clock beside the test's, whose wall time can be set. */
function steppable(clock: ManualClock) {
  let stepMs = 0;
  const stepped: Clock = {
    now: () => clock.now() + stepMs,
    monotonicMs: () => clock.monotonicMs(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
    setTimer: (ms, callback) => clock.setTimer(ms, callback),
  };
  return {
    stepped,
    step: (ms: number) => {
      stepMs += ms;
    },
  };
}

test("clocks that differ or are set make no second leader, and somebody leads again soon", async (t) => {
  const { clock, candidate, leaders } = bench(t);
  const first = steppable(clock);
  const second = steppable(clock);
  second.step(-7_200_000);
  candidate("a", first.stepped);
  await clock.advance(0);
  candidate("b", second.stepped);
  await clock.advance(10_000);
  for (const ms of [3_600_000, -3_600_000, -86_400_000, 10 * 86_400_000]) {
    first.step(ms);
    second.step(-ms / 2);
    for (let passed = 0; passed < 100; passed++) {
      t.true(leaders().length <= 1);
      await clock.advance(100);
    }
    t.is(leaders().length, 1);
  }
});

test("a machine that slept does not act on a lease that others may have, although no timer has fired yet", async (t) => {
  const { clock, candidate } = bench(t);
  const { stepped, step } = steppable(clock);
  const a = candidate("a", stepped);
  await clock.advance(0);
  t.true(a.terms[0]?.held());
  step(9_000);
  t.true(a.terms[0]?.held());
  step(2_000);
  t.false(a.terms[0]?.held());
  t.true(a.terms[0]?.signal.aborted);
});

test("work that fails gives the lease back, so that another operator can try", async (t) => {
  const { clock, candidate, leaders } = bench(t);
  const a = candidate("a");
  a.fail = new Error("a defect");
  await clock.advance(0);
  candidate("b");
  await clock.advance(10_000);
  t.deepEqual(leaders(), ["b"]);
});

test("told to end while a renewal is under way that was carried out, the leader gives the lease back all the same", async (t) => {
  const { clock, cluster, candidate, lease } = bench(t);
  const a = candidate("a");
  await clock.advance(0);
  let stopped: Promise<void> | null = null;
  cluster.after = async ({ method }) => {
    if (method !== "update" || stopped !== null) return;
    stopped = a.stop();
    throw unreachable();
  };
  await clock.advance(3_000);
  t.truthy(stopped);
  await stopped;
  t.is(lease()?.holderIdentity, "");
});

test("a lease that somebody else took meanwhile is not given back for him", async (t) => {
  const { clock, cluster, candidate, lease } = bench(t);
  const a = candidate("a");
  await clock.advance(0);
  const spec = { holderIdentity: "somebody", leaseDurationSeconds: 15, renewTime: "2026-01-01T00:00:00.000000Z" };
  cluster.put(kinds.leases, { metadata: { namespace: "kube-system", name: "tandem-operator" }, spec });
  const stopped = a.stop();
  await clock.advance(0);
  await stopped;
  t.is(lease()?.holderIdentity, "somebody");
});

test("a lease whose version went back tells of another history, once, to whoever leads and to whoever waits", async (t) => {
  const { clock, cluster, candidate } = bench(t);
  const [first, second] = [candidate("a"), candidate("b")];
  await clock.advance(10_000);
  t.is(first.histories + second.histories, 0);
  cluster.goBack(50);
  await clock.advance(10_000);
  t.deepEqual([first.histories, second.histories], [1, 1]);
  t.is(first.terms.length + second.terms.length, 1, "it is no reason to lead no longer");
});
