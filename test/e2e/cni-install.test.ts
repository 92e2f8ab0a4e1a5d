/** The agent as a node's CNI plugin: it installs itself, what it installed works, and an operator's word outlasts its next look. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import test from "ava";
import type { EndpointDto } from "../../src/api/dto.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { inside, run } from "../../src/lab/run.ts";
import { program } from "../../src/lab/runtime.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { agentStatus, withLab } from "../support/lab.ts";

/** ms: an agent looks after its files each half minute. */
const longMs = 240_000;

test("an agent that installs its plugin: a runtime can use it, and what the operator takes away stays away", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-install-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const [bin, conf] = [join(folder, "bin"), join(folder, "net.d")];
  for (const each of [bin, conf]) await mkdir(each);
  await writeFile(join(conf, "00-other.conflist"), "{}");
  const agent = { cniInstall: true, cniBinDir: bin, cniConfDir: conf, cniChained: [] };
  await withLab(t, { nodes: 1, objects: [], agent }, async (lab) => {
    const node = lab.node("node-1");
    const names = async () => [...(await readdir(conf)), ...(await readdir(bin))];
    const installed = ["00-other.conflist.tandem-backup", "05-tandem.conflist", "tandem-cni"];
    await lab.until("it is installed", async () => (await names()).join() === installed.join());

    const netns = `tandem-${lab.name}-runtime`;
    await promisify(execFile)("ip", ["netns", "add", netns]);
    t.teardown(() => run(["ip", "netns", "del", netns]));
    const list = JSON.parse(await readFile(join(conf, "05-tandem.conflist"), "utf8")) as {
      readonly cniVersion: string;
      readonly name: string;
      readonly plugins: readonly [{ readonly type: string }];
    };
    const { cniVersion, name, plugins } = list;
    const call = (command: string) =>
      run(inside({ netns: node.netns, cgroup: systemCgroup(node) }, [join(bin, plugins[0].type)]), {
        input: JSON.stringify({ ...plugins[0], cniVersion, name }),
        env: {
          CNI_COMMAND: command,
          CNI_CONTAINERID: "sandbox",
          CNI_NETNS: netnsPath(netns),
          CNI_IFNAME: "eth0",
          CNI_PATH: bin,
          CNI_ARGS: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web",
        },
      });
    const object = { apiVersion: "v1", kind: "Pod", metadata: { name: "web" }, spec: { nodeName: "node-1" } };
    await writeFile(join(lab.plan.manifests, "web.json"), JSON.stringify(object));
    const added = await call("ADD");
    t.is(added.code, 0, added.stdout);
    const { stdout } = await lab.agent("node-1", ["endpoint", "get", "default/web", "--json"]);
    t.is((JSON.parse(stdout) as EndpointDto).state, "ready");
    t.is((await call("DEL")).code, 0);

    const cni = async (command: string) => {
      const config = ["--config", join(node.folder, "agent.json")];
      const done = await lab.exec("node/node-1", [...program("cli"), "cni", command, ...config]);
      t.is(done.code, command === "status" && (await names()).length < 3 ? 1 : 0, done.stderr);
    };
    await cni("uninstall");
    t.deepEqual(await names(), ["00-other.conflist"]);
    const isTold = async () => {
      const { problems } = await agentStatus(lab, "node-1");
      return problems.some(({ code }) => code === "CNI_WITHDRAWN");
    };
    await lab.until("the agent has looked", isTold, longMs);
    t.deepEqual(await names(), ["00-other.conflist"]);
    await cni("status");
    await lab.stopAgent("node-1", "SIGKILL");
    await lab.startAgent("node-1");
    await lab.until("another agent says the same", isTold, longMs);
    t.deepEqual(await names(), ["00-other.conflist"]);

    await cni("install");
    t.deepEqual(await names(), installed);
    await cni("status");
  });
});

test("a runtime gets no configuration from an agent that does not know the cluster yet", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-install-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const [bin, conf] = [join(folder, "bin"), join(folder, "net.d")];
  for (const each of [bin, conf]) await mkdir(each);
  const agent = { cniInstall: true, cniBinDir: bin, cniConfDir: conf, cniChained: [] };
  await withLab(t, { nodes: 1, api: labApiServer, agent, agents: false }, async (lab) => {
    await lab.stopApiServer();
    // Settles when the agent is ready.
    const started = lab.startAgent("node-1");
    await lab.until("the agent answers", () =>
      agentStatus(lab, "node-1").then(
        () => true,
        () => false,
      ),
    );
    await sleep(3_000);
    t.false((await agentStatus(lab, "node-1")).ready);
    t.deepEqual(await readdir(conf), []);
    await lab.startApiServer();
    await started;
    await lab.until("it is installed", async () => (await readdir(conf)).includes("05-tandem.conflist"), longMs);
    t.true((await agentStatus(lab, "node-1")).ready);
  });
});
