import test, { type ExecutionContext } from "ava";
import type { MetricDto } from "../../../src/api/metrics-dto.ts";
import { fakeAgent } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const metrics: readonly MetricDto[] = [
  {
    name: "tandem_drop_packets_total",
    type: "counter",
    help: "Packets that were dropped.",
    samples: [{ labels: { reason: "policy: no rule", direction: "ingress" }, value: 11 }],
  },
  { name: "tandem_map_entries", type: "gauge", help: "Entries.", samples: [{ labels: { map: "ct4" }, value: 7 }] },
  { name: "tandem_start_to_ready_seconds", type: "gauge", help: "Time.", samples: [] },
  {
    name: "tandem_cni_request_seconds",
    type: "histogram",
    help: "Time.",
    samples: [
      {
        labels: { command: "add" },
        buckets: [
          { le: 0.01, count: 6 },
          { le: 0.1, count: 9 },
        ],
        sum: 1.5,
        count: 10,
      },
    ],
  },
];

async function runner(t: ExecutionContext) {
  const { socket } = await fakeAgent(t, { queries: { metrics: async () => metrics } });
  return async (...argv: readonly string[]) => (await runCli(["--socket", socket, "metrics", ...argv])).output;
}

test("tandem metrics prints every figure with its labels, a histogram in short, and says what has none yet", async (t) => {
  const run = await runner(t);
  t.is(
    await run(),
    [
      "NAME                            TYPE        LABELS                                       VALUE",
      'tandem_drop_packets_total       counter     reason="policy: no rule" direction=ingress   11',
      "tandem_map_entries              gauge       map=ct4                                      7",
      "tandem_start_to_ready_seconds   gauge                                                    none yet",
      "tandem_cni_request_seconds      histogram   command=add                                  10   mean 150 ms, half <= 10 ms, 99 % > 100 ms",
      "",
    ].join("\n"),
  );
  t.deepEqual(JSON.parse(await run("--json")), metrics);
});

test("a pattern is a part of the name, or the whole of it with * and ?, with or without tandem_", async (t) => {
  const run = await runner(t);
  const names = async (pattern: string) =>
    (JSON.parse(await run(pattern, "--json")) as readonly MetricDto[]).map(({ name }) => name);
  t.deepEqual(await names("map"), ["tandem_map_entries"]);
  t.deepEqual(await names("*_seconds"), ["tandem_start_to_ready_seconds", "tandem_cni_request_seconds"]);
  t.deepEqual(await names("drop*"), ["tandem_drop_packets_total"]);
  t.deepEqual(await names("tandem_map_entrie?"), ["tandem_map_entries"]);
  await t.throwsAsync(run("entries*"), { message: /no figure has a name like entries\*/ });
  await t.throwsAsync(run("nothing"), { message: /no figure has a name like nothing/ });
});
