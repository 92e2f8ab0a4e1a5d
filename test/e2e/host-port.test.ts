/**
 * hostPort by the real portmap, chained after tandem-cni as a runtime chains them: each plugin of the installed list gets the result of the
 * one before. The packets go through the host's stack, where portmap's rules are, both ways.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "ava";
import type { EndpointDto } from "../../src/api/dto.ts";
import { conflistText } from "../../src/cni/install/conflist.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath, podNetns } from "../../src/lab/plan.ts";
import { inside, run } from "../../src/lab/run.ts";
import { cniBinary } from "../../src/lab/runtime.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { askSctp, serveSctp } from "../support/everywhere.ts";
import { answererOf, beginFlow, flowFrom, pod, settled, withLab } from "../support/lab.ts";

const [folder] = ["/usr/lib/cni", "/opt/cni/bin"].filter((each) => existsSync(join(each, "portmap")));
const title = "a hostPort of portmap is reached from outside, another node and its own, under the pod's policy";

const sctpPort = 9100;

/** What a runtime says of the pod's containers: of every protocol, for all of the node's addresses and for one. */
const portMappings = ({ ipv4, ipv6 }: { readonly ipv4: string; readonly ipv6: string }) => [
  { hostPort: 18_080, containerPort: 8080, protocol: "tcp", hostIP: "" },
  { hostPort: 18_053, containerPort: 9000, protocol: "udp", hostIP: "" },
  { hostPort: 18_132, containerPort: sctpPort, protocol: "sctp", hostIP: "" },
  { hostPort: 18_084, containerPort: 8080, protocol: "tcp", hostIP: ipv4 },
  { hostPort: 18_086, containerPort: 8080, protocol: "tcp", hostIP: ipv6 },
];

interface Plugin {
  readonly type: string;
  readonly capabilities?: { readonly portMappings?: true };
}

/** What libcni does with the list. @returns the last result */
async function callChain(lab: Lab, command: "ADD" | "DEL", name: string, prevResult?: object) {
  const node = lab.node("node-1");
  const text = conflistText({
    cniVersion: "1.0.0",
    socket: node.socket,
    stateDir: node.stateDir,
    chained: ["portmap"],
  });
  const list = JSON.parse(text) as { readonly cniVersion: string; readonly plugins: readonly Plugin[] };
  const { stdout } = await lab.agent("node-1", ["endpoint", "get", `default/${name}`, "--json"]);
  const { containerId } = JSON.parse(stdout) as EndpointDto;
  let result: object | undefined = prevResult;
  const plugins = command === "DEL" ? [...list.plugins].reverse() : list.plugins;
  for (const plugin of plugins) {
    const { capabilities, ...own } = plugin;
    const binary = plugin.type === "tandem-cni" ? cniBinary() : join(folder ?? "", plugin.type);
    const called = await run(inside({ netns: node.netns, cgroup: systemCgroup(node) }, [binary]), {
      input: JSON.stringify({
        ...own,
        cniVersion: list.cniVersion,
        name: "tandem",
        ...(capabilities?.portMappings === true && { runtimeConfig: { portMappings: portMappings(node) } }),
        ...(result !== undefined && { prevResult: result }),
      }),
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: containerId,
        CNI_NETNS: netnsPath(podNetns(lab.name, "default", name)),
        CNI_IFNAME: "eth0",
        CNI_PATH: dirname(binary),
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
        PATH: process.env.PATH ?? "",
      },
    });
    if (called.code !== 0) throw new Error(`${command} of ${plugin.type}: ${called.stdout}${called.stderr}`);
    if (command === "ADD") result = JSON.parse(called.stdout) as object;
  }
  return result;
}

const onlyFriends = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "only-friends", namespace: "default" },
  spec: {
    podSelector: { matchLabels: { app: "web" } },
    policyTypes: ["Ingress"],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "friend" } } }] }],
  },
};

if (folder === undefined) {
  test.skip(`${title} (no portmap: apt-get install containernetworking-plugins)`, () => undefined);
} else {
  test(title, (t) =>
    withLab(
      t,
      {
        nodes: 2,
        objects: [
          pod("web", { node: "node-1", ports: [8080, { containerPort: 9000, protocol: "UDP" }] }),
          pod("near", { node: "node-1" }),
          ...["friend", "stranger"].map((name) => pod(name, { node: "node-2" })),
        ],
      },
      async (lab) => {
        await callChain(lab, "ADD", "web");
        const { ipv4, ipv6 } = lab.node("node-1");
        const both = [ipv4, ipv6];
        const ask = (from: string, address: string, seconds?: number, port = 18_080) =>
          answererOf(lab, from, address, port, seconds);
        serveSctp(lab, "default/web", sctpPort);
        const clients = [
          "external/client",
          "default/friend",
          "default/stranger",
          "default/near",
          "node/node-2",
          "node/node-1",
        ];
        const bySctp = (address: string) =>
          Promise.all(clients.map(async (from) => `${from} ${await askSctp(lab, from, address, 18_132, 1)}`));
        const open = [];
        for (const address of both) {
          for (const from of ["external/client", "default/friend", "default/stranger", "default/near", "node/node-1"])
            t.is(await ask(from, address), "default/web", `${from} ${address}`);
          for (const from of ["external/client", "default/friend", "default/near", "node/node-2"]) {
            const { sent, answered, from: by } = await flowFrom(lab, from, { kind: "udp", address, port: 18_053 });
            t.deepEqual([answered, by], [sent, ["default/web"]], `UDP: ${from} ${address}`);
          }
          const [own, other] = address === ipv4 ? [18_084, 18_086] : [18_086, 18_084];
          for (const from of ["external/client", "default/friend"]) {
            t.is(await ask(from, address, 20, own), "default/web", `of this hostIP: ${from} ${address}`);
            t.is(await ask(from, address, 2, other), null, `of the other hostIP: ${from} ${address}`);
          }
          open.push(await beginFlow(lab, "default/friend", { kind: "tcp", address, port: 18_080 }));
          open.push(await beginFlow(lab, "default/friend", { kind: "udp", address, port: 18_053 }));
        }

        const reached = (all: readonly string[]) =>
          clients.map((from) => `${from} ${all.includes(from) ? "default/web" : "none"}`);
        t.deepEqual(await Promise.all(both.map(bySctp)), [reached(clients), reached(clients)], "SCTP");

        await lab.applyObjects([onlyFriends]);
        await settled(lab);
        for (const address of both) {
          t.is(await ask("default/friend", address), "default/web", "the policy sees who it is, and not the node");
          for (const from of ["external/client", "default/stranger"])
            t.is(await ask(from, address, 2), null, `${from} ${address}`);
          const { answered } = await flowFrom(lab, "external/client", {
            kind: "udp",
            address,
            port: 18_053,
            lateMs: 500,
          });
          t.is(answered, 0, `UDP: ${address}`);
        }
        const friends = reached(["default/friend", "node/node-1"]);
        t.deepEqual(await Promise.all(both.map(bySctp)), [friends, friends], "SCTP, and the pod's own node may");
        for (const flow of open) {
          const { sent, answered, from } = await flow.end();
          t.true(sent > 0);
          t.deepEqual([answered, from], [sent, ["default/web"]], "what began before and is allowed goes on");
        }

        await callChain(lab, "DEL", "web");
        for (const address of both) t.is(await ask("default/friend", address, 2), null);
      },
    ),
  );
}
