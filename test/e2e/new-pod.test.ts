import test from "ava";
import { setTimeout as sleep } from "node:timers/promises";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { netnsPath } from "../../src/lab/plan.ts";
import { inside, mustRun, run } from "../../src/lab/run.ts";
import { cniBinary } from "../../src/lab/runtime.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import type { EndpointDto } from "../../src/api/dto.ts";
import { answererOf, pod, podAddress, withLab } from "../support/lab.ts";

const isolated = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "isolated", namespace: "default" },
  spec: { podSelector: { matchLabels: { app: "isolated" } }, policyTypes: ["Ingress", "Egress"] },
};

test("a new pod is closed until its policy is in: who knocks from before its first moment never gets in", (t) =>
  withLab(t, { nodes: 2, objects: [isolated, pod("first", { node: "node-1" })] }, async (lab) => {
    const first = await podAddress(lab, "default/first");
    const [a, b, c, d = "0"] = first.split(".");
    const next = [1, 2, 3, 4].map((n) => [a, b, c, Number(d) + n].join("."));
    await lab.applyObjects([pod("knocker", { node: "node-2" }), pod("near", { node: "node-1" })]);
    const taken = await podAddress(lab, "default/near");
    const addresses = next.filter((address) => address !== taken).slice(0, 3);

    const knock = (from: string) =>
      lab.exec(from, ["sh", "-c", `for a in ${addresses.join(" ")}; do ping -q -i 0.01 -c 600 -W 1 $a & done; wait`]);
    const knocking = [knock("default/knocker"), knock("default/near")];
    await sleep(500);
    const pods = [1, 2, 3].map((n) => pod(`shy-${n}`, { node: "node-1", labels: { app: "isolated" } }));
    await lab.applyObjects(pods);
    const given = await Promise.all([1, 2, 3].map((n) => podAddress(lab, `default/shy-${n}`)));
    t.deepEqual([...given].sort(), [...addresses].sort(), "they knocked at the right doors");
    for (const { stdout } of await Promise.all(knocking)) {
      const counts = [...stdout.matchAll(/(\d+) packets transmitted, (\d+) received/g)];
      t.is(counts.length, 3, stdout);
      for (const [, sent, received] of counts) {
        t.true(Number(sent) > 100);
        t.is(Number(received), 0);
      }
    }
  }));

test("ADD of a pod whose object the agent does not know yet waits, closed, and ends when it comes", (t) =>
  withLab(t, { nodes: 1, objects: [pod("client")] }, async (lab) => {
    const node = lab.node("node-1");
    const netns = `tandem-${lab.name}-p-default-early`;
    await mustRun(["ip", "netns", "add", netns]);
    t.teardown(() => run(["ip", "netns", "del", netns]));
    const config = { cniVersion: "1.1.0", name: "tandem", type: "tandem-cni", socket: node.socket };
    let ended = false;
    const add = run(inside({ netns: node.netns, cgroup: systemCgroup(node) }, [cniBinary()]), {
      input: JSON.stringify({ ...config, stateDir: node.stateDir }),
      env: {
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: "early",
        CNI_NETNS: netnsPath(netns),
        CNI_IFNAME: "eth0",
        CNI_PATH: "/",
        CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=early;K8S_POD_UID=u1",
      },
    }).finally(() => {
      ended = true;
    });
    const endpoint = async () => {
      const { stdout } = await lab.agent("node-1", ["endpoint", "list", "--json"]);
      return (JSON.parse(stdout) as readonly EndpointDto[]).find((one) => one.pod === "default/early");
    };
    // It is creating until a computation has seen it.
    await lab.until("the endpoint is known", async () => (await endpoint())?.state === "waiting-for-identity");
    const { ipv4, state } = (await endpoint()) ?? {};
    t.is(state, "waiting-for-identity");
    const pings = async () => (await lab.exec("default/client", ["ping", "-c", "1", "-W", "5", ipv4 ?? ""])).code === 0;
    t.false(await pings());
    t.false(ended);
    const object = { ...pod("early"), status: { phase: "Running" } };
    const early = { ...object, metadata: { ...object.metadata, uid: "u1" } };
    await writeFile(join(lab.plan.manifests, "early.json"), JSON.stringify(early));
    t.is((await add).code, 0);
    t.true(await pings());
  }));

test("an address that is used again at once has its new pod's policy from the first packet", (t) =>
  withLab(
    t,
    { nodes: 2, objects: [isolated, pod("client", { node: "node-2" }), pod("old", { node: "node-1" })] },
    async (lab) => {
      const address = await podAddress(lab, "default/old");
      t.is(await answererOf(lab, "default/client", address, 8080), "default/old");
      // The flow is open while its pod goes: it must not be the door to the next holder of the address.
      const folder = await mkdtemp(join(tmpdir(), "tandem-again-"));
      t.teardown(() => rm(folder, { recursive: true, force: true }));
      const [log, stop] = [join(folder, "log"), join(folder, "stop")];
      const pinging = `ping -O -i 0.01 ${address} >${log} & while [ ! -e ${stop} ]; do sleep 0.1; done; kill -INT $!; wait`;
      const watching = lab.exec("default/client", ["sh", "-c", pinging], { timeoutMs: 240_000 });
      t.teardown(() => writeFile(stop, ""));
      const answered = async () => [...(await readFile(log, "utf8").catch(() => "")).matchAll(/icmp_seq=(\d+) ttl/g)];
      await lab.until("the old pod answers", async () => (await answered()).length > 10);
      await lab.deleteObjects([pod("old", { node: "node-1" })]);
      await lab.applyObjects([pod("new", { node: "node-1", labels: { app: "isolated" }, addresses: [address] })]);
      t.is(await podAddress(lab, "default/new"), address);
      await sleep(1_000);
      await writeFile(stop, "");
      await watching;
      const answers = (await answered()).map(([, seq]) => Number(seq));
      const [, sent = "0"] = /(\d+) packets transmitted/.exec(await readFile(log, "utf8")) ?? [];
      t.deepEqual(
        answers,
        answers.map((_, i) => i + 1),
        "none was answered after the first that was not",
      );
      t.true(answers.length < Number(sent) - 10, `${answers.length} of ${sent} were answered`);
    },
  ));
