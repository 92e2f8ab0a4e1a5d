import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import { agentStatus, beginFlow, clientsOnly, fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";

/** New connections, one each 20 ms until the file `stop` is there: how many were answered and how many were not. */
const connect = (host: string, stop: string) => [
  "sh",
  "-c",
  `ok=0; bad=0; while [ ! -e ${stop} ]; do ` +
    `if curl -sg -o /dev/null -m 20 http://${host}:8080/; then ok=$((ok+1)); else bad=$((bad+1)); fi; sleep 0.02; done; ` +
    `echo "$ok $bad"`,
];

test("kill -9 of the agents and their restart: running flows lose nothing, new connections are answered, policy holds", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      objects: [
        pod("server", { node: "node-1", ports: [8080, { containerPort: 9000, protocol: "UDP" }] }),
        pod("client", { node: "node-2" }),
        pod("near", { node: "node-1", labels: { app: "client" } }),
        pod("stranger", { node: "node-2" }),
        clientsOnly,
      ],
    },
    async (lab) => {
      const server = await podAddress(lab, "default/server");
      const server6 = await podAddress(lab, "default/server", 6);
      await lab.until("the stranger is refused", async () => {
        return (await fetchFrom(lab, "default/stranger", server, 8080, 1)) === null;
      });
      const before = (await agentStatus(lab, "node-1")).counts;

      const folder = await mkdtemp(join(tmpdir(), "tandem-restart-"));
      t.teardown(() => rm(folder, { recursive: true, force: true }));
      const stop = join(folder, "stop");
      t.teardown(() => writeFile(stop, ""));
      const long = { timeoutMs: 240_000 };
      const load = [
        lab.exec("default/client", connect(server, stop), long),
        lab.exec("default/client", connect(`[${server6}]`, stop), long),
        lab.exec("default/near", connect(server, stop), long),
      ];
      // Flows that live through it all. UDP has nobody who sends again: a lost packet is a lost answer.
      const flows = [
        await beginFlow(lab, "default/client", { kind: "udp", address: server, port: 9000 }),
        await beginFlow(lab, "default/near", { kind: "udp", address: server6, port: 9000 }),
        await beginFlow(lab, "default/client", { kind: "tcp", address: server6, port: 8080 }),
      ];
      for (const node of ["node-1", "node-2"]) await lab.stopAgent(node, "SIGKILL");
      await sleep(1500);
      t.is(await fetchFrom(lab, "default/stranger", server, 8080, 1), null, "nobody watches, the policy holds");
      for (const node of ["node-1", "node-2"]) await lab.startAgent(node);
      await sleep(2_000);

      await writeFile(stop, "");
      for (const { stdout } of await Promise.all(load)) {
        const [answered = 0, refused = -1] = stdout.trim().split(" ").map(Number);
        t.true(answered > 10, `only ${answered} connections were tried`);
        t.is(refused, 0);
      }
      for (const flow of await Promise.all(flows.map((each) => each.end()))) t.is(flow.answered, flow.sent);
      t.is(await fetchFrom(lab, "default/stranger", server, 8080, 1), null);
      const after = await agentStatus(lab, "node-1");
      t.deepEqual(after.counts, before);
      t.deepEqual(after.problems, []);
    },
  ));
