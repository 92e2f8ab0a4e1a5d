import test from "ava";
import { setTimeout as sleep } from "node:timers/promises";
import { agentStatus, fetchFrom, flowFrom, pod, podAddress, withLab } from "../support/lab.ts";

/** Only `client` may reach `server`, and that on one port. */
const policy = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "server", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { app: "server" } },
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { app: "client" } } }],
        ports: [
          { protocol: "TCP", port: 8080 },
          { protocol: "UDP", port: 9000 },
        ],
      },
    ],
  },
};

/** New connections, one each 20 ms: how many were answered and how many were not. */
const connect = (host: string, seconds: number) => [
  "sh",
  "-c",
  `ok=0; bad=0; end=$(( $(date +%s) + ${seconds} )); while [ $(date +%s) -lt $end ]; do ` +
    `if curl -sg -o /dev/null -m 1 http://${host}:8080/; then ok=$((ok+1)); else bad=$((bad+1)); fi; sleep 0.02; done; ` +
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
        policy,
      ],
    },
    async (lab) => {
      const server = await podAddress(lab, "default/server");
      const server6 = await podAddress(lab, "default/server", 6);
      await lab.until("the stranger is refused", async () => {
        return (await fetchFrom(lab, "default/stranger", server, 8080, 1)) === null;
      });
      const before = (await agentStatus(lab, "node-1")).counts;

      const seconds = 8;
      const load = [
        lab.exec("default/client", connect(server, seconds)),
        lab.exec("default/client", connect(`[${server6}]`, seconds)),
        lab.exec("default/near", connect(server, seconds)),
      ];
      // Flows that live through it all. UDP has nobody who sends again: a lost packet is a lost answer.
      const flows = [
        flowFrom(lab, "default/client", { kind: "udp", address: server, port: 9000, seconds }),
        flowFrom(lab, "default/near", { kind: "udp", address: server6, port: 9000, seconds }),
        flowFrom(lab, "default/client", { kind: "tcp", address: server6, port: 8080, seconds }),
      ];
      await sleep(1000);
      for (const node of ["node-1", "node-2"]) await lab.stopAgent(node, "SIGKILL");
      await sleep(1500);
      t.is(await fetchFrom(lab, "default/stranger", server, 8080, 1), null, "nobody watches, the policy holds");
      for (const node of ["node-1", "node-2"]) await lab.startAgent(node);

      for (const { stdout } of await Promise.all(load)) {
        const [answered = 0, refused = -1] = stdout.trim().split(" ").map(Number);
        t.true(answered > 30, `only ${answered} connections were tried`);
        t.is(refused, 0);
      }
      for (const flow of await Promise.all(flows)) {
        t.true(flow.sent > 100, `only ${flow.sent} messages were sent`);
        t.is(flow.answered, flow.sent);
      }
      t.is(await fetchFrom(lab, "default/stranger", server, 8080, 1), null);
      const after = await agentStatus(lab, "node-1");
      t.deepEqual(after.counts, before);
      t.deepEqual(after.problems, []);
    },
  ));
