/** `tandem wait`: by what holds for this boot, also without an agent; and with a limit. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { bootFile, bootId, type BootMarks, encodeMarks } from "../../../src/api/boot-file.ts";
import { CliError } from "../../../src/cli/errors.ts";
import { fakeAgent, status, temporaryFolder } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const run = async (...argv: readonly string[]) => (await runCli(argv)).output;

const mark = (socket: string, marks: BootMarks, boot = bootId()) =>
  writeFile(bootFile(socket), encodeMarks(boot, marks));

async function late(t: ExecutionContext, ...argv: readonly string[]): Promise<string> {
  const error = await t.throwsAsync(run(...argv), { instanceOf: CliError });
  t.is(error.exitCode, 1);
  return `${error.code} ${error.message}`;
}

test("the datapath of this boot is there, with or without an agent that answers", async (t) => {
  const socket = join(await temporaryFolder(t), "agent.sock");
  await mark(socket, { datapath: true, network: "waiting" });
  t.is(
    await run("wait", "datapath", "--socket", socket, "--timeout", "0"),
    "the datapath is in place (no agent answers at the moment: the kernel goes on by itself)\n",
  );
  const alive = await fakeAgent(t);
  await mark(alive.socket, { datapath: true, network: "degraded" });
  t.is(await run("--socket", alive.socket, "wait", "datapath"), "the datapath is in place\n");
  t.regex(await run("--socket", alive.socket, "wait", "network"), /without all of the network: tandem status/);
  const json: unknown = JSON.parse(await run("--socket", alive.socket, "wait", "network", "--json"));
  t.deepEqual(json, { datapath: true, network: "degraded", agent: true });
});

test("it waits until it is so", async (t) => {
  const socket = join(await temporaryFolder(t), "agent.sock");
  const waited = run("wait", "network", "--socket", socket, "--timeout", "60");
  t.is(await Promise.race([waited, sleep(700, "waits")]), "waits");
  await mark(socket, { datapath: true, network: "ready" });
  t.regex(await waited, /^the network is ready/);
});

test("what an earlier boot had is not enough; after the limit it fails and says what the agent says", async (t) => {
  const socket = join(await temporaryFolder(t), "agent.sock");
  await mark(socket, { datapath: true, network: "ready" }, "another-boot");
  t.regex(
    await late(t, "wait", "datapath", "--socket", socket, "--timeout", "0"),
    /WAIT_TIMEOUT this node has no datapath after 0 s: .*no agent answers/,
  );
  await rm(bootFile(socket));
  const network = { state: "waiting", text: "no BGP session stands", secondsLeft: 30 } as const;
  const agent = await fakeAgent(t, { queries: { status: async () => ({ ...status, ready: true, network }) } });
  t.regex(
    await late(t, "wait", "network", "--socket", agent.socket, "--timeout", "0"),
    /has no network after 0 s: no BGP session stands/,
  );
  t.regex(await late(t, "wait", "godot", "--socket", socket), /WAIT_UNKNOWN nothing is called godot/);
});
