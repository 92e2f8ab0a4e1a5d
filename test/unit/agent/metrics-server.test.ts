import test from "ava";
import { MetricsServer } from "../../../src/agent/metrics-server.ts";
import type { StatusDto } from "../../../src/api/dto.ts";
import { agentMetrics } from "../../../src/observe/metrics/agent-metrics.ts";
import type { Problem } from "../../../src/model/status.ts";
import { fullStatus } from "../observe/metrics/status-fixture.ts";

function serverWith(status: () => Promise<StatusDto>, address = "127.0.0.1:0") {
  const problems: Problem[] = [];
  const errors: unknown[] = [];
  const conditions = { report: (_topic: string, all: readonly Problem[]) => problems.splice(0, Infinity, ...all) };
  const onError = (error: unknown) => errors.push(error);
  const metrics = async () => agentMetrics(await status());
  return { server: new MetricsServer({ address, metrics, conditions, onError }), problems, errors };
}

test("a scrape gets the figures, in the format that it asks for", async (t) => {
  const { server } = serverWith(async () => fullStatus());
  await server.start();
  t.teardown(() => server.stop());
  const url = `http://127.0.0.1:${server.port}/metrics`;
  const text = await fetch(url);
  t.is(text.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  t.regex(await text.text(), /^tandem_forward_packets_total\{direction="egress"\} 12$/m);
  const open = await fetch(url, { headers: { accept: "application/openmetrics-text;version=1.0.0" } });
  t.true((await open.text()).endsWith("# EOF\n"));
  t.is((await fetch(`http://127.0.0.1:${server.port}/other`)).status, 404);
  t.is((await fetch(url, { method: "POST" })).status, 405);
});

test("scrapes at the same time read the status once", async (t) => {
  let reads = 0;
  let answer: (status: StatusDto) => void = () => undefined;
  const held = new Promise<StatusDto>((resolve) => {
    answer = resolve;
  });
  const { server } = serverWith(() => {
    reads += 1;
    setTimeout(() => answer(fullStatus()), 1500);
    return held;
  });
  await server.start();
  t.teardown(() => server.stop());
  const url = `http://127.0.0.1:${server.port}/metrics`;
  const answers = await Promise.all([1, 2, 3].map(async () => (await fetch(url)).status));
  t.deepEqual(answers, [200, 200, 200]);
  t.is(reads, 1);
});

test("a status that cannot be read fails that scrape, is told, and the next one succeeds", async (t) => {
  let isBroken = true;
  const { server, errors } = serverWith(async () => {
    if (isBroken) throw new Error("no map");
    return fullStatus();
  });
  await server.start();
  t.teardown(() => server.stop());
  const url = `http://127.0.0.1:${server.port}/metrics`;
  t.is((await fetch(url)).status, 500);
  t.is(errors.length, 1);
  isBroken = false;
  t.is((await fetch(url)).status, 200);
});

test("an address that somebody else has is a problem, not an end", async (t) => {
  const first = serverWith(async () => fullStatus());
  await first.server.start();
  t.teardown(() => first.server.stop());
  const second = serverWith(async () => fullStatus(), `127.0.0.1:${first.server.port}`);
  await second.server.start();
  t.is(second.server.port, null);
  t.deepEqual(
    second.problems.map(({ code, severity }) => [code, severity]),
    [["METRICS_ADDRESS", "warning"]],
  );
  await second.server.stop();
});
