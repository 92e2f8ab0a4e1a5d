/** Agents that cannot run, or not as they were told to: one clear line, and the node goes on as it was. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { inside, run } from "../../src/lab/run.ts";
import { program } from "../../src/lab/runtime.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { agentStatus, answererOf, pod, podAddress, withLab } from "../support/lab.ts";

test("without root the agent says which privileges it lacks, in one line", async (t) => {
  const { code, stderr } = await run(
    ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ...program("agent"), "--node-name", "n"],
    { timeoutMs: 120_000 },
  );
  t.is(code, 1);
  t.regex(stderr, /^tandem-agent: NO_ROOT: .*CAP_BPF.*\n$/);
});

test("settings that cannot be used are told all at once, each with its name and where it was set", async (t) => {
  const { code, stderr } = await run([...program("agent"), "--tc-mode", "magic", "--pod-mtu", "12"], {
    env: { TANDEM_LOG_LEVEL: "loud" },
    timeoutMs: 120_000,
  });
  t.is(code, 1);
  for (const part of ["nodeName", "tcMode", "--tc-mode", "podMtu", "logLevel", "TANDEM_LOG_LEVEL"])
    t.true(stderr.includes(part), `${part} in ${stderr}`);
  t.is(stderr.trim().split("\n").length, 1);
});

test("a second agent for a node is refused, and the first one goes on", (t) =>
  withLab(t, { nodes: 1, objects: [pod("one"), pod("two")] }, async (lab) => {
    const node = lab.node("node-1");
    const second = await run(
      inside({ netns: node.netns, cgroup: systemCgroup(node) }, [
        ...program("agent"),
        "--config",
        join(node.folder, "agent.json"),
      ]),
      { timeoutMs: 120_000 },
    );
    t.is(second.code, 1);
    t.true(second.stderr.includes(node.socket), second.stderr);
    t.true((await agentStatus(lab, "node-1")).ok);
    const two = await podAddress(lab, "default/two");
    t.is(await answererOf(lab, "default/one", two, 8080), "default/two");
  }));

test("a kernel without TCX: programs are attached to clsact, and do the same", (t) =>
  withLab(
    t,
    { agent: { tcMode: "clsact" }, objects: [pod("server", { node: "node-1" }), pod("client", { node: "node-2" })] },
    async (lab) => {
      const policy = {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "server", namespace: "default" },
        spec: {
          podSelector: { matchLabels: { app: "server" } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
        },
      };
      await lab.applyObjects([policy, pod("stranger", { node: "node-1" })]);
      t.is((await agentStatus(lab, "node-1")).attach.mode, "clsact");
      for (const family of [4, 6] as const) {
        const server = await podAddress(lab, "default/server", family);
        t.is(await answererOf(lab, "default/client", server, 8080), "default/server");
        t.is(await answererOf(lab, "default/stranger", server, 8080, 2), null);
      }
      await lab.stopAgent("node-1", "SIGKILL");
      const server = await podAddress(lab, "default/server");
      t.is(await answererOf(lab, "default/stranger", server, 8080, 2), null, "filters outlive the agent");
      await lab.startAgent("node-1");
      t.is(await answererOf(lab, "default/client", server, 8080), "default/server");
    },
  ));

test("without its eBPF objects the agent names the folder and the command that builds them", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-start-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const { code, stderr } = await run(
    [...program("agent"), "--node-name", "n", "--objects", folder, "--socket", join(folder, "s")],
    { timeoutMs: 120_000 },
  );
  t.is(code, 1);
  t.true(stderr.includes(folder), stderr);
  t.true(stderr.includes("build:bpf"), stderr);
});
