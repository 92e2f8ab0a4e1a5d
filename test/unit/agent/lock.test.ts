import { spawn } from "node:child_process";
import { once } from "node:events";
import test from "ava";
import { AgentLock } from "../../../src/agent/lock.ts";

const folder = (name: string) => `/tmp/tandem-lock-${process.pid}-${name}`;

test("a folder has one agent: the second is refused and told who the first is, until that one lets go", async (t) => {
  const first = new AgentLock(folder("a"), { pid: 123, socket: "/run/a.sock" });
  const second = new AgentLock(`${folder("a")}/x/..`, { pid: 124, socket: "/run/b.sock" });
  await first.take();
  const error = await t.throwsAsync(second.take());
  t.like(error, { code: "AGENT_RUNNING", object: folder("a") });
  t.regex(error?.message ?? "", /process 123, answering on \/run\/a.sock/);
  await new AgentLock(folder("b"), { pid: 125, socket: "" }).take();
  await first.release();
  await second.take();
  await second.release();
});

test("a killed agent leaves no lock behind", async (t) => {
  const module = new URL("../../../src/agent/lock.ts", import.meta.url).href;
  const script = `const { AgentLock } = await import(${JSON.stringify(module)});
    await new AgentLock(${JSON.stringify(folder("k"))}, { pid: process.pid, socket: "s" }).take();
    console.log("held"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--import=tsx", "--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  const lock = new AgentLock(folder("k"), { pid: process.pid, socket: "s" });
  const error = await t.throwsAsync(lock.take());
  t.true(error?.message.includes(`process ${child.pid}`), error?.message);
  child.kill("SIGKILL");
  await once(child, "exit");
  await lock.take();
  await lock.release();
});
