/**
 * A machine's clock that is set while the agent runs, by a day or by decades: what waits, waits as long as before, and what is written down is by
 * the new time. An end-to-end test cannot do this: it would set the clock of the machine that runs it, and no namespace has a
 * CLOCK_REALTIME of its own (time_namespaces(7): those that never step only). What the next agent reads of the one before while the clock is set:
 * names in test/unit/dns/name-cache.test.ts.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { AccessReader } from "../../../src/kube/access.ts";
import { statusError } from "../../../src/kube/errors.ts";
import { Watchdog } from "../../../src/kube/watchdog.ts";
import { BoundedFrequencyRunner } from "../../../src/lib/runner.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { follow } from "../kube/following.ts";

class SteppingClock extends ManualClock {
  #stepMs = 0;

  override now(): number {
    return super.now() + this.#stepMs;
  }

  step(ms: number): void {
    this.#stepMs += ms;
  }
}

const dayMs = 86_400_000;
const steps = [dayMs, -dayMs, 10_000 * dayMs, -10_000 * dayMs];

for (const stepMs of steps) {
  const days = `${stepMs / dayMs} days`;

  test(`a watch is found silent after its time, neither sooner nor later: ${days}`, async (t) => {
    const clock = new SteppingClock();
    let found = 0;
    new Watchdog(clock, 55_000, () => found++);
    await clock.advance(20_000);
    clock.step(stepMs);
    await clock.advance(34_999);
    t.is(found, 0);
    await clock.advance(1);
    t.is(found, 1);
  });

  test(`an API server that is away is asked again after the same pause, and is away since the time of then: ${days}`, async (t) => {
    const clock = new SteppingClock();
    const { client, reflector, start, go } = follow(t, { clock });
    await start([], "1");
    client.refuseWatch(statusError("pods", 500, {}));
    await go();
    const since = clock.now();
    t.is(reflector.status().staleSince, since);
    clock.step(stepMs);
    // The first pause is 250 ms less an eighth, as chance is a half here.
    await go(218);
    t.is(client.asked, "");
    await go(1);
    t.is(client.asked, "watch");
    client.openWatch();
    await go(1_000);
    t.is(reflector.status().stale, null);
  });

  test(`a token is read again in time, and a credential that ends does so by the new time: ${days}`, async (t) => {
    const clock = new SteppingClock();
    let token = "one";
    let asked = 0;
    const endsAt = clock.now() + dayMs / 2;
    const source = { text: "shop" };
    const plan = { origin: "test", server: "https://api.test", serverName: null, insecure: false, namespace: source };
    const none = { ca: null, certificate: null, key: null, token: null, exec: null };
    const exec = { apiVersion: "v1", command: "login", args: [], env: {}, provideClusterInfo: false, installHint: "" };
    const plugin = async () => {
      asked++;
      return { token: `given ${asked}`, certificate: null, key: null, expires: endsAt };
    };
    const readFile_ = async () => token;
    const byFile = new AccessReader({
      clock,
      readFile: readFile_,
      plugin,
      plan: async () => ({ ...plan, ...none, token: { path: "token" } }),
    });
    const byPlugin = new AccessReader({
      clock,
      readFile: readFile_,
      plugin,
      plan: async () => ({ ...plan, ...none, exec }),
    });
    t.is((await byFile.current()).authorization, "Bearer one");
    await byPlugin.current();
    t.is(asked, 1);
    clock.step(stepMs);
    token = "two";
    await clock.advance(9_999);
    t.is((await byFile.current()).authorization, "Bearer one");
    await clock.advance(1);
    t.is((await byFile.current()).authorization, "Bearer two");
    await byPlugin.current();
    t.is(asked, clock.now() > endsAt ? 2 : 1);
  });

  test(`what is looked at again each minute still is: ${days}`, async (t) => {
    const clock = new SteppingClock();
    let runs = 0;
    const runner = new BoundedFrequencyRunner({
      clock,
      minIntervalMs: 5,
      maxIntervalMs: 60_000,
      action: async () => void runs++,
    });
    runner.trigger();
    await clock.advance(10);
    t.is(runs, 1);
    clock.step(stepMs);
    await clock.advance(59_000);
    t.is(runs, 1);
    await clock.advance(2_000);
    t.is(runs, 2);
    await runner.stop();
  });
}

/** Files of a folder that are code. */
async function sources(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => /\.(ts|h|c|cc)$/.test(name)).map((name) => join(folder, name));
}

test("nothing but the clock that is handed in tells the agent the time of day, and nothing tells it the kernel's programs", async (t) => {
  // The lab and the command line are no part of a node's agent.
  const ours = (await sources("src")).filter((path) => !/^src\/(lab|cli)\//.test(path) && path !== "src/lib/clock.ts");
  // Lines of the proxy's access log have the time that people read, and nothing is decided by it.
  const log = "addon/src/l7/record_line.cc";
  const others = [...(await sources("bpf")), ...(await sources("addon")).filter((path) => path !== log)];
  t.true(ours.length > 200 && others.length > 20);
  const wall =
    /\bDate\.now\(|\bnew Date\(\)|CLOCK_REALTIME|CLOCK_TAI|bpf_ktime_get_tai|system_clock|gettimeofday|\btime\((NULL|nullptr|0)\)/;
  for (const path of [...ours, ...others]) {
    const found = (await readFile(path, "utf8")).split("\n").findIndex((line) => wall.test(line));
    t.is(
      found,
      -1,
      `${path}:${found + 1}: take the time from the clock that is handed in, a duration from monotonicMs`,
    );
  }
});
