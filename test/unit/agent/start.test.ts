import test from "ava";
import { CniGate } from "../../../src/agent/cni-gate.ts";
import type { CniRequest } from "../../../src/api/dto.ts";
import { badRequest, cniCodes } from "../../../src/cni/errors.ts";

const add: CniRequest = {
  command: "ADD",
  containerId: "c",
  netns: "",
  ifname: "eth0",
  args: "",
  path: "",
  config: '{"cniVersion":"0.4.0"}',
};

test("CNI requests wait for the agent: deletions for the endpoints, additions for the cluster, none for ever", async (t) => {
  const kept: string[] = [];
  const handler = {
    handle: async ({ command }: CniRequest) => ({ exitCode: 0 as const, output: command }),
    keepDelete: async ({ containerId }: CniRequest) => {
      kept.push(containerId);
    },
  };
  const gate = new CniGate(handler, 40);
  const ask = (command: string) => gate.handle({ ...add, command }, new AbortController().signal);
  const late = await ask("CHECK");
  t.is(late.exitCode, 1);
  t.like(JSON.parse(late.output), { cniVersion: "0.4.0", code: 11 });
  t.like(JSON.parse((await ask("STATUS")).output), { code: 50 });
  t.deepEqual(kept, []);
  t.deepEqual(await ask("DEL"), { exitCode: 0, output: "" });
  t.deepEqual(kept, ["c"], "a deletion does not wait for ever, and is not lost");

  const deletion = new CniGate(handler, 600_000);
  const answer = deletion.handle({ ...add, command: "DEL" }, new AbortController().signal);
  deletion.restored();
  t.deepEqual(await answer, { exitCode: 0, output: "DEL" });
  t.deepEqual(kept, ["c"]);

  gate.restored();
  t.is((await ask("ADD")).exitCode, 1);
  t.is((await ask("STATUS")).exitCode, 1, "a node that knows no cluster serves no ADD");
  gate.synced();
  t.deepEqual(await ask("ADD"), { exitCode: 0, output: "ADD" });
  t.deepEqual(await ask("STATUS"), { exitCode: 0, output: "STATUS" });
});

test("a deletion that cannot be kept is one to try again, and says why", async (t) => {
  const full = async () => {
    throw new Error("ENOSPC: no space left");
  };
  const gate = new CniGate({ handle: full, keepDelete: full }, 1);
  const { exitCode, output } = await gate.handle({ ...add, command: "DEL" }, new AbortController().signal);
  t.is(exitCode, 1);
  t.like(JSON.parse(output), { code: 11 });
  t.regex(output, /no space left/);
});

test("a deletion that cannot be understood is refused for what it is, not to be tried again", async (t) => {
  const refuse = async () => {
    throw badRequest(cniCodes.invalidEnvironment, "CNI_CONTAINERID", "../web is no container");
  };
  const gate = new CniGate({ handle: refuse, keepDelete: refuse }, 1);
  const { exitCode, output } = await gate.handle({ ...add, command: "DEL" }, new AbortController().signal);
  t.is(exitCode, 1);
  t.like(JSON.parse(output), { cniVersion: "0.4.0", code: 4 });
  t.regex(output, /is no container/);
});
