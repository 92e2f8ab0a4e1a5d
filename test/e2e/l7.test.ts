/** L7 rules as a user meets them: real requests between pods through tandem-proxy, and what becomes of them when a part of it is restarted. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { EventDto } from "../../src/api/dto.ts";
import type { ProxyDto, ProxyRulesDto } from "../../src/api/proxy-dto.ts";
import { agentGet } from "../../src/lab/agents.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { accessLog, proxyProcess } from "../../src/lab/proxies.ts";
import type { L7Record } from "../../src/native/l7-contract.ts";
import {
  agentStatus,
  monitored,
  monitoredLines,
  pod,
  podAddress,
  settled,
  visibility,
  withLab,
} from "../support/lab.ts";

const policy = (name: string, spec: object) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "default" },
  spec,
});

const http = (rules: readonly object[]) => [{ ports: [{ port: "8080", protocol: "TCP" }], rules: { http: rules } }];

/** What clients may ask the server: paths below /public, and /admin with a key. */
const ingress = policy("server", {
  endpointSelector: { matchLabels: { app: "server" } },
  ingress: [
    {
      fromEndpoints: [{ matchLabels: { app: "client" } }],
      toPorts: http([
        { method: "GET", path: "/public/.*" },
        { method: "GET|POST", path: "/admin", headers: ["X-Key: open"] },
      ]),
    },
  ],
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Status 0: there was no answer. */
async function ask(
  lab: Lab,
  from: string,
  address: string,
  path: string,
  more: readonly string[] = [],
): Promise<Answer> {
  const host = address.includes(":") ? `[${address}]` : address;
  const words = [
    "curl",
    "-sg",
    "--path-as-is",
    "-m",
    "10",
    "-w",
    "\n%{http_code}",
    ...more,
    `http://${host}:8080${path}`,
  ];
  const { stdout } = await lab.exec(from, words);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

const rules = async (lab: Lab, node: string) => (await agentGet(lab.node(node), "/v1/proxy/rules")) as ProxyRulesDto;
const proxy = async (lab: Lab, node: string) => (await agentGet(lab.node(node), "/v1/proxy")) as ProxyDto;

interface Load {
  end(): Promise<{
    readonly sent: number;
    readonly status: Readonly<Record<string, number>>;
    readonly failed: readonly string[];
  }>;
}

/** Requests one after the other, until `end`. */
async function beginRequests(
  t: ExecutionContext,
  lab: Lab,
  from: string,
  address: string,
  path: string,
): Promise<Load> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-requests-"));
  const file = join(folder, "load");
  const script = new URL("../support/requests.js", import.meta.url).pathname;
  t.teardown(async () => {
    await writeFile(`${file}.end`, "").catch(() => undefined);
    await running.catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  });
  const running = lab.exec(from, [process.execPath, script, address, "8080", path, file], { timeoutMs: 300_000 });
  await lab.until(`requests from ${from} begin`, async () => existsSync(`${file}.begun`));
  return {
    end: async () => {
      await writeFile(`${file}.end`, "");
      const { stdout, stderr } = await running;
      if (stdout === "") throw new Error(`requests from ${from}: ${stderr}`);
      return JSON.parse(stdout);
    },
  };
}

/** Who asked, what, and what became of it, as the access log and `tandem monitor --l7` of the server's node have it. */
async function isLogged(t: ExecutionContext, lab: Lab, client: string, server: string): Promise<void> {
  const node = lab.node("node-1");
  const file = accessLog(node);
  const lineOf = async (path: string): Promise<L7Record> => {
    const found = async () => {
      const lines = (await readFile(file, "utf8").catch(() => "")).split("\n").slice(0, -1);
      return lines.map((line) => JSON.parse(line) as L7Record).find(({ http }) => http?.path === path);
    };
    await lab.until(`${path} is logged`, async () => (await found()) !== undefined);
    return (await found()) as L7Record;
  };
  const begun = Date.now();
  await ask(lab, "default/client", server, "/public/logged");
  await ask(lab, "default/client", server, "/private/logged");
  const [good, bad] = [await lineOf("/public/logged"), await lineOf("/private/logged")];
  const number = (await rules(lab, "node-1")).rules.find(({ text }) => text.includes("/admin"))?.ruleSet;
  const host = `${server}:8080`;
  for (const { time, source, destination } of [good, bad]) {
    t.true(time >= begun - 1_000 && time <= Date.now(), `${time}`);
    t.is(source.address, client);
    t.is(source.endpoint, 0, "the client is on another node");
    t.like(destination, { address: server, port: 8080 });
    t.true(source.port > 0 && source.identity > 0 && destination.identity > 0 && destination.endpoint > 0);
  }
  t.like(good, { protocol: "http/1.1", verdict: "forwarded", direction: null, reason: null, ruleSet: number });
  t.deepEqual(good.http, { method: "GET", host, path: "/public/logged", status: 200 });
  t.true((good.latency ?? 0) > 0);
  t.like(bad, { protocol: "http/1.1", verdict: "denied", direction: "ingress", ruleSet: 0, latency: null });
  t.deepEqual(bad.asked as unknown, [number]);
  t.deepEqual(bad.http, { method: "GET", host, path: "/private/logged", status: 403 });

  // As logrotate does it.
  await rename(file, `${file}.taken`);
  process.kill((await proxyProcess(node)) ?? 0, "SIGHUP");
  await lab.until("the log is opened anew", async () => {
    await ask(lab, "default/client", server, "/public/anew");
    return existsSync(file);
  });
  t.like(await lineOf("/public/anew"), { verdict: "forwarded" });

  const lines = await monitoredLines(
    lab,
    "node-1",
    ["--l7"],
    async () => {
      await ask(lab, "default/client", server, "/public/told");
      await ask(lab, "default/client", server, "/private/told");
    },
    (all) => ["/public/told", "/private/told"].every((path) => all.some((line) => line.includes(path))),
  );
  const line = (path: string) => lines.find((each) => each.includes(path)) ?? "";
  const who = `default/client \\(${client}:\\d+\\) -> default/server \\(${server}:8080\\)`;
  t.regex(line("/public/told"), new RegExp(`-> l7 forwarded ${who} http/1.1 GET ${host}/public/told 200, [\\d.]+ ms$`));
  t.regex(line("/private/told"), new RegExp(`xx l7 denied ${who} http/1.1 GET ${host}/private/told 403.*ingress`));
  t.true(
    lines.every((each) => each.includes(" l7 ")),
    "nothing else is told",
  );
}

test("requests pass as the policies of both ends say, and each end sees the other's address", (t) =>
  withLab(
    t,
    {
      proxies: true,
      objects: [
        pod("server", { node: "node-1" }),
        pod("client", { node: "node-2" }),
        pod("near", { node: "node-1", labels: { app: "client" } }),
        pod("stranger", { node: "node-2" }),
        pod("seen", { node: "node-1", annotations: visibility("<Ingress/8080/TCP/HTTP>") }),
        ingress,
      ],
    },
    async (lab) => {
      await settled(lab);
      // No rule is about it: requests pass and are told, and those of its own node pass without.
      const open = await podAddress(lab, "default/seen");
      t.is((await ask(lab, "node/node-1", open, "/probe")).status, 200);
      const told = await monitored<EventDto>(
        lab,
        "node-1",
        async () => void (await ask(lab, "default/stranger", open, "/shown")),
        (all) => all.some(({ type }) => type === "l7"),
      );
      t.like(
        told.find(({ type }) => type === "l7"),
        { verdict: "allowed", l7: { protocol: "http/1.1", http: { method: "GET", path: "/shown", status: 200 } } },
      );
      for (const family of [4, 6] as const) {
        const server = await podAddress(lab, "default/server", family);
        for (const client of ["default/client", "default/near"]) {
          const own = await podAddress(lab, client, family);
          const good = await ask(lab, client, server, "/public/a?b=c");
          t.is(good.status, 200, `${client} ${family}`);
          t.true(good.body.startsWith(`default/server peer ${family === 6 ? `[${own}]` : own}:`), good.body);
          const denied = await ask(lab, client, server, "/private");
          t.deepEqual(denied, { status: 403, body: "Access denied\r\n" }, `${client} ${family}`);
          t.is((await ask(lab, client, server, "/public/a", ["-X", "POST"])).status, 403, "another method");
          t.is((await ask(lab, client, server, "/public/../private")).status, 403, "a path that leads elsewhere");
          t.is((await ask(lab, client, server, "/admin")).status, 403, "without its header");
          t.is((await ask(lab, client, server, "/admin", ["-H", "X-Key: open"])).status, 200);
          t.is((await ask(lab, client, server, "/admin", ["-H", "X-Key: open", "-H", "X-Key: shut"])).status, 403);
          t.is(
            (await ask(lab, client, server, "/admin", ["-H", "X-Key: open", "-d", "x".repeat(100_000)])).status,
            200,
          );
        }
        t.is(
          (await ask(lab, "default/stranger", server, "/public/a", ["-m", "2"])).status,
          0,
          "who is not named has no answer",
        );
      }

      await lab.until("the rules are counted", async () => {
        const { rules: counted, denied } = await rules(lab, "node-1");
        return counted.some(({ requests }) => requests >= 12) && denied.some(({ requests }) => requests >= 16);
      });
      t.is((await rules(lab, "node-2")).rules.length, 0, "the client's node has nothing to judge");
      t.deepEqual((await agentStatus(lab, "node-1")).problems, []);

      const server = await podAddress(lab, "default/server");
      const events = await monitored<EventDto>(
        lab,
        "node-1",
        async () => void (await ask(lab, "default/client", server, "/public/seen")),
        (all) => all.some(({ type }) => type === "l7") && all.some(({ verdict }) => verdict === "redirected"),
      );
      t.like(
        events.find(({ type }) => type === "l7"),
        {
          verdict: "allowed",
          l7: { protocol: "http/1.1", http: { method: "GET", path: "/public/seen", status: 200 } },
        },
      );

      await isLogged(t, lab, await podAddress(lab, "default/client"), server);

      const audit = (value: string) =>
        lab.agent("node-1", ["endpoint", "config", "default/server", `PolicyAuditMode=${value}`]);
      await audit("true");
      const isAudited = ({ verdict }: EventDto) => verdict === "audit";
      const pass = async () =>
        void t.is((await ask(lab, "default/client", server, "/private")).status, 200, "not judged");
      const audited = await monitored<EventDto>(lab, "node-1", pass, (all) => all.some(isAudited));
      t.is(audited.find(isAudited)?.reason, "L7 rules apply and no proxy enforces them");
      await audit("default");
      t.is((await ask(lab, "default/client", server, "/private")).status, 403);

      // The client's own policy: a request has to be allowed by both.
      await lab.applyObjects([
        policy("client", {
          endpointSelector: { matchLabels: { app: "client" } },
          egress: [{ toEndpoints: [{ matchLabels: { app: "server" } }], toPorts: http([{ path: "/public/(a|c)" }]) }],
        }),
      ]);
      await settled(lab);
      for (const client of ["default/client", "default/near"]) {
        t.is((await ask(lab, client, server, "/public/a")).status, 200, client);
        t.is((await ask(lab, client, server, "/public/b")).status, 403, client);
        t.is((await ask(lab, client, server, "/admin", ["-H", "X-Key: open"])).status, 403, client);
      }
    },
  ));

const websocket = new URL("../support/websocket.js", import.meta.url).pathname;

/** A certificate of its own, and TLS at port 8443. */
const tlsServer = `cd "$(mktemp -d)" && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server \
  -keyout key -out cert -days 2 2>/dev/null && exec openssl s_server -accept 8443 -key key -cert cert -quiet`;

test("WebSockets pass once their request is allowed, TLS by the name that the client asks for", (t) =>
  withLab(
    t,
    {
      proxies: true,
      objects: [
        pod("server", { node: "node-1", command: [process.execPath, websocket, "serve", "8080"] }),
        pod("client", { node: "node-2" }),
        pod("tls", { node: "node-1", command: ["/bin/bash", "-c", tlsServer] }),
        ingress,
        policy("tls", {
          endpointSelector: { matchLabels: { app: "client" } },
          egress: [
            { toEndpoints: [{ matchLabels: { app: "server" } }] },
            {
              toEndpoints: [{ matchLabels: { app: "tls" } }],
              toPorts: [{ ports: [{ port: "8443", protocol: "TCP" }], serverNames: ["api.test", "*.open.test"] }],
            },
          ],
        }),
      ],
    },
    async (lab) => {
      await settled(lab);
      const server = await podAddress(lab, "default/server");
      const chat = async (path: string) => {
        const url = `ws://${server}:8080${path}`;
        const { stdout } = await lab.exec("default/client", [process.execPath, websocket, "ask", url, "50"]);
        return JSON.parse(stdout) as { readonly echoed: number; readonly status: number | null };
      };
      await lab.until("the server listens", async () => (await chat("/public/chat")).echoed > 0);
      t.deepEqual(await chat("/public/chat"), { echoed: 50, status: null });
      t.deepEqual(await chat("/chat"), { echoed: 0, status: 403 });

      const secure = await podAddress(lab, "default/tls");
      const greet = async (...words: readonly string[]) => {
        const command = `openssl s_client -connect ${secure}:8443 -brief ${words.join(" ")} </dev/null 2>&1`;
        return (await lab.exec("default/client", ["/bin/bash", "-c", command])).stdout;
      };
      const names = (name: string) => greet("-servername", name);
      await lab.until("the TLS server listens", async () =>
        (await names("api.test")).includes("CONNECTION ESTABLISHED"),
      );
      t.regex(await names("x.open.test"), /CONNECTION ESTABLISHED/);
      t.regex(await names("api.test"), /Peer certificate: CN ?= ?server/, "TLS is the server's own from end to end");
      for (const name of ["else.test", "a.b.open.test"]) t.regex(await names(name), /alert access denied/, name);
      t.regex(await greet("-noservername"), /alert access denied/);
    },
  ));

test("agents that are killed, proxies that are replaced: no request is lost; a proxy that is killed closes its ports and nothing else", (t) =>
  withLab(
    t,
    {
      proxies: true,
      objects: [
        pod("server", { node: "node-1", ports: [8080, 8081] }),
        pod("client", { node: "node-2" }),
        ingress,
        policy("open", {
          endpointSelector: { matchLabels: { app: "server" } },
          ingress: [{ toPorts: [{ ports: [{ port: "8081", protocol: "TCP" }] }] }],
        }),
      ],
    },
    async (lab) => {
      await settled(lab);
      const server = await podAddress(lab, "default/server");
      const server6 = await podAddress(lab, "default/server", 6);

      const load = [
        await beginRequests(t, lab, "default/client", server, "/public/a"),
        await beginRequests(t, lab, "default/client", server6, "/public/a"),
      ];
      await lab.stopAgent("node-1", "SIGKILL");
      t.is((await ask(lab, "default/client", server, "/private")).status, 403, "rules hold while the agent is away");
      await lab.startAgent("node-1");
      await lab.until("the proxy is back at the agent", async () =>
        (await proxy(lab, "node-1")).instances.some(({ state }) => state === "active"),
      );
      await lab.replaceProxy("node-1");
      for (const each of load) {
        const { sent, status, failed } = await each.end();
        t.true(sent > 20, `only ${sent} requests were tried`);
        t.deepEqual(failed, []);
        t.deepEqual(status, { "200": sent });
      }

      const denied = await beginRequests(t, lab, "default/client", server, "/private");
      const allowed = await beginRequests(t, lab, "default/client", server6, "/public/a");
      await lab.stopProxy("node-1", "SIGKILL");
      t.is((await ask(lab, "default/client", server, "/public/a", ["-m", "2"])).status, 0, "nobody enforces the rules");
      await lab.until("the agent tells of it", async () =>
        (await agentStatus(lab, "node-1")).problems.some(({ code }) => code === "PROXY_AWAY"),
      );
      await lab.until("what is closed is counted", async () =>
        (await agentStatus(lab, "node-1")).drops.some(({ reason }) => reason.includes("no proxy enforces")),
      );
      t.is(
        (await lab.exec("default/client", ["curl", "-sg", "-m", "10", `http://${server}:8081/`])).code,
        0,
        "other ports",
      );
      await lab.startProxy("node-1");
      t.is((await ask(lab, "default/client", server, "/public/a")).status, 200);
      await lab.until("it is mended", async () => (await agentStatus(lab, "node-1")).problems.length === 0);
      t.deepEqual(Object.keys((await denied.end()).status), ["403"], "what is denied passes at no moment of the kill");
      const { sent, status, failed } = await allowed.end();
      t.deepEqual(status, { "200": sent - failed.length });
      t.true(failed.length <= 5, `it does not go on: ${failed.join(", ")}`);
    },
  ));
