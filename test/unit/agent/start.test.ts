import test from "ava";
import { CniGate } from "../../../src/agent/cni-gate.ts";
import { requirePrivileges } from "../../../src/agent/privileges.ts";
import type { CniRequest } from "../../../src/api/dto.ts";

test("missing capabilities are named; all of them are enough, root or not", (t) => {
  t.notThrows(() => requirePrivileges("Uid:\t1000\nCapEff:\t000001ffffffffff\n"));
  t.throws(() => requirePrivileges("CapEff:\t0000000000000000\n"), {
    code: "NO_ROOT",
    message: /CAP_NET_ADMIN.*CAP_BPF/,
  });
  const error = t.throws(() => requirePrivileges("CapEff:\t0000003fffffffff\n"), { code: "NO_ROOT" });
  t.false(error?.message.includes("CAP_NET_ADMIN"));
});

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
  const gate = new CniGate({ handle: async ({ command }) => ({ exitCode: 0, output: command }) }, 40);
  const ask = (command: string) => gate.handle({ ...add, command }, new AbortController().signal);
  const late = await ask("DEL");
  t.is(late.exitCode, 1);
  t.like(JSON.parse(late.output), { cniVersion: "0.4.0", code: 11 });

  const deletion = ask("DEL");
  gate.restored();
  t.deepEqual(await deletion, { exitCode: 0, output: "DEL" });
  t.is((await ask("ADD")).exitCode, 1);

  const addition = ask("ADD");
  gate.synced();
  t.deepEqual(await addition, { exitCode: 0, output: "ADD" });
});
