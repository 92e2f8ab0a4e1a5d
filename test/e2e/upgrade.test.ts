/**
 * Two releases take turns on running nodes, agents and proxies each for themselves, as DaemonSets roll: back to the other one, and up again. Flows
 * lose nothing, new connections are answered, what is denied stays denied at every moment.
 *
 * The other release is a clone that was built (npm ci && npm run build), and TANDEM_OTHER_RELEASE its folder.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, beginFlow, clientsOnly, fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";

const other = process.env.TANDEM_OTHER_RELEASE ?? "";
const nodes = ["node-1", "node-2"] as const;
const title =
  "back to another release and up again, agents and proxies one by one: flows lose nothing, new connections are answered, policy holds";

function whyNot(): string | null {
  if (other === "") return "TANDEM_OTHER_RELEASE names no folder of another release";
  return existsSync(join(other, "dist/tandem-agent.js")) ? null : `${other} was not built`;
}

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "server", namespace: "default" },
  spec: { clusterIP: "10.128.0.77", selector: { app: "server" }, ports: [{ port: 80, targetPort: 8080 }] },
};

const policies = [
  clientsOnly,
  {
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { name: "judged", namespace: "default" },
    spec: {
      endpointSelector: { matchLabels: { app: "judged" } },
      ingress: [
        {
          fromEndpoints: [{ matchLabels: { app: "client" } }],
          toPorts: [{ ports: [{ port: "8080", protocol: "TCP" }], rules: { http: [{ path: "/public" }] } }],
        },
      ],
    },
  },
];

/** Asks all of them again and again until the file `stop` is there; a line for each: "URL code", 000 for no answer within `seconds`. */
const knock = (urls: readonly string[], seconds: number, stop: string) => [
  "sh",
  "-c",
  `while [ ! -e ${stop} ]; do for url in ${urls.join(" ")}; do ` +
    `echo "$url $(curl -sg -o /dev/null -m ${seconds} -w '%{http_code}' "$url")"; done; sleep 0.05; done`,
];

/** Runs `work` with the daemons of the other release. */
async function ofOther(work: () => Promise<unknown>): Promise<void> {
  process.env.TANDEM_LAB_RELEASE = other;
  try {
    await work();
  } finally {
    delete process.env.TANDEM_LAB_RELEASE;
  }
}

async function replaceAgents(lab: Lab): Promise<void> {
  for (const node of nodes) {
    await lab.stopAgent(node);
    await lab.startAgent(node);
  }
}

async function replaceProxies(lab: Lab): Promise<void> {
  for (const node of nodes) await lab.replaceProxy(node);
}

/** How often each code came, by URL. */
function codesOf(text: string): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const codes = new Map<string, Map<string, number>>();
  for (const line of text.trim().split("\n")) {
    const [url = "", code = ""] = line.split(" ");
    const counted = codes.get(url) ?? new Map<string, number>();
    codes.set(url, counted.set(code, (counted.get(code) ?? 0) + 1));
  }
  return codes;
}

async function turns(t: ExecutionContext, lab: Lab): Promise<void> {
  const [server, server6, judged] = [
    await podAddress(lab, "default/server"),
    await podAddress(lab, "default/server", 6),
    await podAddress(lab, "default/judged"),
  ];
  await lab.until(
    "the stranger is refused",
    async () => (await fetchFrom(lab, "default/stranger", server, 8080, 1)) === null,
  );
  const folder = await mkdtemp(join(tmpdir(), "tandem-upgrade-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const stop = join(folder, "stop");
  t.teardown(() => writeFile(stop, ""));
  const long = { timeoutMs: 400_000 };
  const open = [
    `http://${server}:8080/`,
    `http://[${server6}]:8080/`,
    "http://10.128.0.77/",
    `http://${judged}:8080/public`,
  ];
  const shut = [`http://${server}:8080/`, `http://[${server6}]:8080/`, `http://${judged}:8080/public`];
  const secret = `http://${judged}:8080/secret`;
  const asked = lab.exec("default/client", knock([...open, secret], 20, stop), long);
  const denied = lab.exec("default/stranger", knock(shut, 1, stop), long);
  const flows = [
    await beginFlow(lab, "default/client", { kind: "udp", address: server, port: 9000, lifeMs: 400_000 }),
    await beginFlow(lab, "default/client", { kind: "tcp", address: server6, port: 8080, lifeMs: 400_000 }),
    await beginFlow(lab, "default/client", { kind: "tcp", address: "10.128.0.77", port: 80, lifeMs: 400_000 }),
  ];
  const before = (await agentStatus(lab, "node-1")).counts;

  await ofOther(() => replaceAgents(lab));
  t.log(`back: agents of ${(await agentStatus(lab, "node-1")).version}`);
  await ofOther(() => replaceProxies(lab));
  await sleep(2_000);
  await replaceAgents(lab);
  await replaceProxies(lab);
  await sleep(2_000);

  await writeFile(stop, "");
  const answers = codesOf((await asked).stdout);
  for (const url of open) {
    t.deepEqual([...(answers.get(url)?.keys() ?? [])], ["200"], url);
    t.true((answers.get(url)?.get("200") ?? 0) > 10, url);
  }
  t.deepEqual([...(answers.get(secret)?.keys() ?? [])], ["403"]);
  for (const [url, codes] of codesOf((await denied).stdout))
    t.deepEqual([...codes.keys()], ["000"], `a stranger to ${url}`);
  for (const flow of await Promise.all(flows.map((each) => each.end()))) t.is(flow.answered, flow.sent);
  const after = await agentStatus(lab, "node-1");
  t.deepEqual(after.counts, before);
  t.deepEqual(after.problems, []);
}

const skipped = whyNot();
if (skipped !== null) test.skip(`${title} (${skipped})`, () => undefined);
else
  test(title, (t) =>
    withLab(
      t,
      {
        nodes: 2,
        proxies: true,
        objects: [
          pod("server", { node: "node-1", ports: [8080, { containerPort: 9000, protocol: "UDP" }] }),
          pod("judged", { node: "node-1" }),
          pod("client", { node: "node-2" }),
          pod("stranger", { node: "node-2" }),
          service,
          ...policies,
        ],
      },
      (lab) => turns(t, lab),
    ),
  );
