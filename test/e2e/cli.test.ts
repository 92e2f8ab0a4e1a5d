/** Every command of `tandem` against a real agent: a table for people, and the same as JSON. */
import test from "ava";
import type { StatusDto } from "../../src/api/dto.ts";
import { agentStatus, answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";

const objects = [
  pod("server", { node: "node-1" }),
  pod("client", { node: "node-1" }),
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "server", namespace: "default" },
    spec: { selector: { app: "server" }, ports: [{ port: 80, targetPort: 8080 }] },
  },
  {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "server", namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: "server" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
    },
  },
];

/** Of the pod that has a policy, by a group of it or by its default. */
function sameInKernel(verdict: "ALLOW" | "DENY"): RegExp {
  return new RegExp(
    `ingress of default/server: ${verdict}\\n(?: .*\\n)*? +in the kernel: the same, by (group|no group)`,
  );
}

/** Command, what its table shows, and what its JSON shows. */
const lists: readonly (readonly [string, RegExp, RegExp])[] = [
  ["endpoint list", /default\/server/, /"pod": "default\/server"/],
  ["endpoint list", /0 +Disabled +Disabled +1 +reserved:host[\s\S]*node\/node-1/, /"pod": "node\/node-1"/],
  [
    "endpoint get default/server",
    /ready, [\s\S]*INGRESS +default deny \(closed by NetworkPolicy default\/server\)[\s\S]*app=client in default/,
    /"policySet": [1-9]/,
  ],
  ["policy trace --from default/client --to default/server --port 8080", sameInKernel("ALLOW"), /"kernel": \{/],
  ["policy trace --from node/node-2 --to default/server --port 8080/TCP", sameInKernel("DENY"), /"verdict": "deny"/],
  ["policy trace --from default/client --to svc/default/server --port 80", sameInKernel("ALLOW"), /"service": \{/],
  [
    "policy trace --from 203.0.113.7 --to node/node-1 --port 22",
    /a node, which no policy here selects\n +in the kernel: the same/,
    /"basis": "unpoliced"/,
  ],
  ["identity list", /k8s:app=server/, /"k8s:app=server"/],
  ["policy get", /NetworkPolicy\s+default\s+server\s+True\s+[0-9]/, /"valid": true/],
  ["policy get default/server", /NetworkPolicy/, /"name": "server"/],
  ["service list", /default\/server:80\s+\S+:80\/TCP\s+ClusterIP\s+1 => \S+:8080\/TCP/, /"type": "ClusterIP"/],
  ["bpf ct list", /TCP\s+\S+\s+\S+:8080\s/, /"protocol": "TCP"/],
  ["bpf ipcache list", /k8s:app=server/, /"k8s:app=server"/],
  ["bpf policy list", /NetworkPolicy default\/server ingress\[0\]/, /"NetworkPolicy default\/server ingress\[0\]"/],
  ["bpf services list", /default\/server:80/, /"service": "default\/server:80"/],
  ["bpf maglev list", /CLIENTS\s+SLOTS\s+DIGEST/, /^\[/],
  [
    "service get default/server",
    /^default\/server: ClusterIP\n[\s\S]*ClusterIP +1 +- +\d+ inside, 0 outside +yes\n[\s\S]*:8080\/TCP +80 +ready +node-1 \(this one\)/,
    /"inKernel": true/,
  ],
  ["routes", /node-2\s+\S+\s+present\s+\S+\s+eth0\s+bgp \(kube-router\)\s+1500/, /"present": true/],
  ["version", /agent \S+ on node-1/, /"node": "node-1"/],
];

test("every command shows what it is for, as a table and as JSON", (t) =>
  withLab(t, { objects }, async (lab) => {
    await settled(lab);
    const server = await podAddress(lab, "default/server");
    // A flow that is closed would leave the list within seconds.
    const flow = await beginFlow(lab, "default/client", { kind: "tcp", address: server, port: 8080 });
    for (const [command, table, json] of lists) {
      const words = command.split(" ");
      const shown = await lab.agent("node-1", words);
      t.is(shown.code, 0, `${command}: ${shown.stderr}`);
      t.regex(shown.stdout, table, command);
      const parsed = await lab.agent("node-1", [...words, "--json"]);
      t.notThrows(() => JSON.parse(parsed.stdout), command);
      t.regex(parsed.stdout, json, command);
    }
    await flow.end();
    const known = JSON.parse((await lab.agent("node-1", ["service", "get", "default/server", "--json"])).stdout);
    const vip = /^[^:]+/.exec(String(known.frontends[0].frontend))?.[0] ?? "none";
    t.is(await answererOf(lab, "default/client", vip, 80), "default/server");
    const { frontends } = JSON.parse(
      (await lab.agent("node-1", ["service", "get", "default/server", "--json"])).stdout,
    );
    t.is(frontends[0].flows.inside, known.frontends[0].flows.inside + 1);
    const traced = await lab.agent("node-1", ["service", "trace", "default/client", String(frontends[0].frontend)]);
    t.regex(traced.stdout, /at the socket[\s\S]*:8080 +ready +node-1 \(this one\) +- +yes +ALLOW\n[\s\S]*the only one/);
    const wrong = ["policy", "trace", "--from", "default/clint", "--to", "default/server", "--port", "8080"];
    const mistaken = await lab.agent("node-1", wrong);
    t.is(mistaken.code, 2);
    t.regex(
      mistaken.stderr,
      /no pod default\/clint that the agent of node-1 has seen\n +did you mean default\/client\?/,
    );
    const unknown = await lab.agent("node-1", ["endpoint", "get", "default/nobody"]);
    t.is(unknown.code, 1);
    t.regex(unknown.stderr, /there is no endpoint default\/nobody on this node/);
  }));

test("status is exit code 0 for a node that is well, 1 when a pod CIDR has no route, 2 without an agent", (t) =>
  withLab(t, { objects: [pod("one", { node: "node-1" })] }, async (lab) => {
    const well = await lab.agent("node-1", ["status", "-v"]);
    t.is(well.code, 0, well.stdout);
    for (const part of [/Agent:\s+Ok/, /routes: synced/, /eth0/, /2\/2 pod CIDRs/, /ct4\s+\d+/, /redirect_peer/])
      t.regex(well.stdout, part);

    await lab.exec("node/node-1", ["ip", "route", "del", lab.node("node-2").podCidr4]);
    let status: StatusDto | null = null;
    await lab.until("the route is missed", async () => {
      status = await agentStatus(lab, "node-1");
      return status.routes.missing.length === 1;
    });
    t.like(status, { ok: false, routes: { expected: 2, present: 1 } });
    const degraded = await lab.agent("node-1", ["status"]);
    t.is(degraded.code, 1);
    t.true(degraded.stdout.includes(`no route to ${lab.node("node-2").podCidr4} (node-2: BGP has`), degraded.stdout);

    await lab.stopAgent("node-1", "SIGTERM");
    const gone = await lab.agent("node-1", ["status"]);
    t.is(gone.code, 2);
    t.true(gone.stderr.includes(lab.node("node-1").socket), gone.stderr);
  }));
