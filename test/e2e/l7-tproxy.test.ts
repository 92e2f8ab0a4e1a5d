/** The second way to tandem-proxy, for kernels where programs cannot give packets to a socket: marks, and a table of nft. Users see no difference. */
import test from "ava";
import type { StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { digFrom, openNames, outsideNames } from "../support/names.ts";

const policy = (name: string, spec: object) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "default" },
  spec,
});
const http = (path: string) => [
  { ports: [{ port: "8080", protocol: "TCP" }], rules: { http: [{ method: "GET", path }] } },
];
const server = { matchLabels: { app: "server" } };

/** Both ends have rules: on one node, the same proxy is asked for both. */
const policies = [
  policy("server", {
    endpointSelector: server,
    ingress: [
      { fromEndpoints: [{ matchLabels: { app: "client" } }], toPorts: http("/public/.*") },
      { toPorts: [{ ports: [{ port: "8081", protocol: "TCP" }] }] },
    ],
  }),
  policy("client", {
    endpointSelector: { matchLabels: { app: "client" } },
    egress: [{ toEndpoints: [server], toPorts: http("/(public|private)/a") }],
  }),
  openNames(["world", "host"], [{ matchPattern: "*.test" }]),
];

/** Status 0: there was no answer. */
async function ask(lab: Lab, from: string, address: string, path: string, port = 8080) {
  const host = address.includes(":") ? `[${address}]` : address;
  const words = ["curl", "-sg", "-m", "3", "-w", "\n%{http_code}", `http://${host}:${port}${path}`];
  const { stdout } = await lab.exec(from, words);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const nft = (lab: Lab, ...words: readonly string[]) => lab.exec("node/node-1", ["/usr/sbin/nft", ...words]);
const problems = async (lab: Lab) => (await agentStatus(lab, "node-1")).problems.map(({ code }) => code);

test("with nft TPROXY requests and questions are judged as with sk_assign, and nothing bypasses a proxy that is killed or a table that is flushed", (t) =>
  withLab(
    t,
    {
      proxies: true,
      agent: { dnsMode: "proxy", proxyRedirect: "tproxy" },
      objects: [
        pod("near", { node: "node-1", labels: { app: "server" } }),
        pod("far", { node: "node-2", labels: { app: "server" }, ports: [8080, 8081] }),
        pod("client", { node: "node-1" }),
        ...policies,
      ],
    },
    async (lab) => {
      const { ipv4, dns, serveOnNode, publish } = await outsideNames(t, lab);
      await publish({ "a.test": { A: [ipv4[0] ?? ""] }, "a.example": { A: [ipv4[0] ?? ""] } });
      await settled(lab);
      const { attach }: StatusDto = await agentStatus(lab, "node-1");
      t.deepEqual(attach.proxyRedirect, { way: "tproxy", why: "setting proxyRedirect" });

      const dig = (to: string, ...words: readonly string[]) => digFrom(lab, "default/client", to, ...words);
      const isJudged = async (when: string) => {
        for (const family of [4, 6] as const) {
          const own = await podAddress(lab, "default/client", family);
          for (const name of ["default/near", "default/far"]) {
            const to = await podAddress(lab, name, family);
            const good = await ask(lab, "default/client", to, "/public/a");
            t.is(good.status, 200, `${when}: ${name} ${family}`);
            t.true(good.body.startsWith(`${name} peer ${family === 6 ? `[${own}]` : own}:`), good.body);
            t.is(
              (await ask(lab, "default/client", to, "/private/a")).status,
              403,
              `${when}: refused by the server's rules`,
            );
            t.is(
              (await ask(lab, "default/client", to, "/public/b")).status,
              403,
              `${when}: refused by the client's rules`,
            );
          }
        }
        for (const words of [["+notcp"], ["+tcp"]]) {
          t.deepEqual(await dig(dns, ...words, "a.test"), { code: "NOERROR", addresses: ipv4.slice(0, 1) }, when);
          t.is((await dig(dns, ...words, "a.example")).code, "REFUSED", when);
        }
      };
      await lab.until("the proxy has the rules", async () => (await dig(dns, "a.test")).code === "NOERROR");
      await isJudged("at first");

      // A cache on the pod's own node: its address is local whatever the marks say.
      for (const own of [lab.node("node-1").ipv4, lab.node("node-1").ipv6]) {
        await serveOnNode(own);
        for (const words of [["+notcp"], ["+tcp"]]) {
          t.is((await dig(own, ...words, "a.test")).code, "NOERROR", own);
          t.is((await dig(own, ...words, "a.example")).code, "REFUSED", own);
        }
      }

      await lab.stopAgent("node-1", "SIGKILL");
      await isJudged("without an agent");
      await lab.startAgent("node-1");

      t.is((await nft(lab, "flush", "ruleset")).code, 0);
      await lab.until("the table is put back", async () =>
        (await nft(lab, "list", "tables")).stdout.includes("inet tandem-tproxy"),
      );
      await isJudged("after a flush");

      await lab.stopProxy("node-1", "SIGKILL");
      const far = await podAddress(lab, "default/far");
      t.is((await ask(lab, "default/client", far, "/public/a")).status, 0, "nobody enforces the rules");
      t.is((await digFrom(lab, "default/client", dns, "+time=1", "a.test")).code, "none");
      t.is((await digFrom(lab, "default/client", lab.node("node-1").ipv4, "+time=1", "a.test")).code, "none");
      t.is((await ask(lab, "node/node-1", far, "/", 8081)).status, 200, "other ports");
      await lab.until("what is closed is told", async () => {
        const { drops } = await agentStatus(lab, "node-1");
        return (
          drops.some(({ reason }) => reason.includes("no proxy enforces")) &&
          (await problems(lab)).includes("PROXY_AWAY")
        );
      });
      await lab.startProxy("node-1");
      await isJudged("with a new proxy");
      await lab.until("it is mended", async () => !(await problems(lab)).some((code) => code.startsWith("PROXY_")));
      const { stdout } = await nft(lab, "list", "table", "inet", "tandem-tproxy");
      t.regex(stdout, /counter packets \d+ bytes \d+ drop/);
    },
  ));
