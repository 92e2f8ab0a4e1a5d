import test from "ava";
import type { NodeHealthDto } from "../../../src/api/health-dto.ts";
import { fakeAgent } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const path = {
  kind: "icmp",
  address: "192.0.2.2",
  device: null,
  state: "answers",
  since: "2026-01-01T00:00:00.000Z",
  answered: "2026-01-01T00:00:05.000Z",
  p50Ms: 0.25,
  p99Ms: 12.4,
  sent: 9,
  lost: 1,
  told: null,
} as const;
const node = (name: string, more: Partial<NodeHealthDto> = {}): NodeHealthDto => ({
  ...{ node: name, state: "reachable", since: null, agent: true, problems: [], paths: [path], mtu: [], ...more },
});

test("tandem health lists paths with their times, tells what is wrong, and exits with 1 then", async (t) => {
  let rows: readonly NodeHealthDto[] = [node("n2"), node("n3")];
  const { socket } = await fakeAgent(t, { queries: { nodeHealth: () => rows } });
  const run = (...argv: readonly string[]) => runCli(["--socket", socket, "health", ...argv]);
  const well = await run();
  t.is(well.exitCode, 0);
  t.regex(well.output, /^n2 +reachable +icmp +192\.0\.2\.2 +- +answers .* 0\.25 ms +12 ms +1\/9$/m);
  rows = [
    node("n2"),
    node("n3", { state: "unreachable", problems: [{ code: "X", text: "no answer", remedy: "look there" }] }),
  ];
  const ill = await run();
  t.is(ill.exitCode, 1);
  t.regex(ill.output, /\nn3: no answer\n {2}-> look there\n$/);
  t.is((await run("n2")).exitCode, 0);
  t.deepEqual(JSON.parse((await run("n3", "--json")).output), [rows[1]]);
  await t.throwsAsync(run("n9"), { message: /node n9 is not probed/ });
  rows = [];
  t.is((await run()).output, "no other node is probed\n");
});
