import test from "ava";
import { timedCni } from "../../../../src/agent/timed-cni.ts";
import type { CniRequest, CniResponse } from "../../../../src/api/dto.ts";
import { Durations } from "../../../../src/observe/metrics/durations.ts";

function series(durations: Durations, name: string): Record<string, readonly [count: number, sum: number]> {
  const family = durations.metrics().find((each) => each.name === name);
  if (family?.type !== "histogram") return {};
  return Object.fromEntries(
    family.samples.map(({ labels, count, sum }) => [Object.values(labels).join(" "), [count, sum]]),
  );
}

test("CNI requests are told by command and result, whatever a runtime makes up as a command", async (t) => {
  const durations = new Durations();
  let now = 0;
  const answers: (CniResponse | Error)[] = [
    { exitCode: 0, output: "" },
    { exitCode: 1, output: "" },
    new Error("no disk"),
    { exitCode: 1, output: "" },
  ];
  const handler = timedCni(
    {
      handle: async () => {
        now += 250;
        const answer = answers.shift();
        if (answer === undefined || answer instanceof Error) throw answer;
        return answer;
      },
    },
    durations,
    { monotonicMs: () => now },
  );
  const ask = (command: string) => handler.handle({ command } as CniRequest, new AbortController().signal);
  t.is((await ask("ADD")).exitCode, 0);
  await ask("ADD");
  await t.throwsAsync(ask("DEL"), { message: "no disk" });
  await ask("X-1");
  t.deepEqual(series(durations, "tandem_cni_request_seconds"), {
    "ADD ok": [1, 0.25],
    "ADD failed": [1, 0.25],
    "DEL failed": [1, 0.25],
    "other failed": [1, 0.25],
  });
});

test("rounds are told by loop, in seconds", (t) => {
  const durations = new Durations();
  durations.round("verify", 1500);
  durations.round("verify", 500);
  durations.policyChange(20);
  t.deepEqual(series(durations, "tandem_round_seconds"), { verify: [2, 2] });
  t.deepEqual(series(durations, "tandem_policy_change_seconds"), { "": [1, 0.02] });
});
