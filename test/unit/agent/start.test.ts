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

test("a CNI request waits for the agent, and is told to try again when that takes too long", async (t) => {
  const gate = new CniGate({ patienceMs: 30 });
  const late = await gate.handle(add, new AbortController().signal);
  t.is(late.exitCode, 1);
  t.like(JSON.parse(late.output), { cniVersion: "0.4.0", code: 11 });

  const waiting = gate.handle(add, new AbortController().signal);
  gate.open({ handle: async () => ({ exitCode: 0, output: "added" }) });
  t.deepEqual(await waiting, { exitCode: 0, output: "added" });
});
