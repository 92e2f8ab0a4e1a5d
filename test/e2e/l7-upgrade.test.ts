/** HTTP/2, gRPC and what lives long on one connection, between pods of two nodes, while the parts that judge them are killed and replaced. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { drainSeconds, proxyActive, proxyProcess } from "../../src/lab/proxies.ts";
import { pod, podAddress, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

const script = new URL("../support/long-streams.js", import.meta.url).pathname;
const ports = { http1: 8080, http2: 8082, grpc: 50_051 } as const;
const allPorts = Object.values(ports);
const families = [4, 6] as const;
const bracketed = (address: string) => (address.includes(":") ? `[${address}]` : address);

const on = (port: number, http: readonly object[]) => ({
  ports: [{ port: String(port), protocol: "TCP" }],
  rules: { http },
});

const policy = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "server", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: "client" } }],
        toPorts: [
          on(ports.http1, [{ path: "/public/.*" }]),
          on(ports.http2, [{ path: "/public/.*" }]),
          on(ports.grpc, [{ method: "POST", path: "/shop.Cart/(Get|Talk)" }]),
        ],
      },
    ],
  },
};

/** As test/support/long-streams.js tells it. */
interface Held {
  readonly kind: string;
  readonly host: string;
  readonly sent: number;
  readonly came: number;
  readonly lastAt: number;
  readonly ended: string | null;
  readonly endedAt: number;
  readonly wrong: string | null;
}

class LongStreams {
  readonly #lab: Lab;
  readonly #file: string;

  private constructor(lab: Lab, file: string) {
    this.#lab = lab;
    this.#file = file;
  }

  /** One of each kind to each of the hosts, until the test ends. */
  static async begin(t: ExecutionContext, lab: Lab, from: string, hosts: readonly string[]): Promise<LongStreams> {
    const folder = await mkdtemp(join(tmpdir(), "tandem-streams-"));
    const file = join(folder, "streams");
    t.teardown(async () => {
      await writeFile(`${file}.end`, "");
      await running;
      await rm(folder, { recursive: true, force: true });
    });
    const words = [process.execPath, script, "hold", file, ...allPorts.map(String), ...hosts];
    const running = lab.exec(from, words, { timeoutMs: 300_000 });
    const streams = new LongStreams(lab, file);
    await lab.until("the streams begin", async () => existsSync(file));
    return streams;
  }

  async all(): Promise<readonly Held[]> {
    return JSON.parse(await readFile(this.#file, "utf8"));
  }

  /** Each that has not ended is answered again. */
  async goOn(what: string): Promise<void> {
    const before = await this.all();
    await this.#lab.until(`all streams go on ${what}`, async () =>
      (await this.all()).every(({ came, ended }, at) => ended !== null || came > (before[at]?.came ?? 0) + 10),
    );
  }

  /** Those of a host come to their end. */
  async finish(host: string): Promise<readonly Held[]> {
    await writeFile(`${this.#file}.finish`, host);
    return this.ended(host);
  }

  async ended(host: string): Promise<readonly Held[]> {
    const of = async () => (await this.all()).filter((each) => each.host === host);
    await this.#lab.until(`streams to ${host} end`, async () => (await of()).every(({ ended }) => ended !== null));
    return of();
  }
}

const endings = (streams: readonly Held[]) => streams.map(({ kind, ended, wrong }) => [kind, ended, wrong]);

/** By the clients that people use. */
async function judgedByClients(t: ExecutionContext, lab: Lab, server: string, own: string): Promise<void> {
  const url = (path: string) => `http://${bracketed(server)}:${ports.http2}${path}`;
  const { stdout: seen } = await lab.exec("default/client", ["nghttp", "-nv", url("/public/a"), url("/private")]);
  t.deepEqual((seen.match(/(?<=:status: )\d+/g) ?? []).sort(), ["200", "403"], `${server}: ${seen}`);
  const { stdout: load } = await lab.exec("default/client", [
    "h2load",
    "-n2000",
    "-c4",
    "-m50",
    "-t1",
    url("/public/a"),
  ]);
  t.regex(load, /2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout/, server);
  t.regex(load, /status codes: 2000 2xx/, server);
  const call = async (path: string) => {
    const words = [process.execPath, script, "call", server, String(ports.grpc), path];
    return (await lab.exec("default/client", words)).stdout;
  };
  const answer = await call("/shop.Cart/Get");
  t.is(/^0 peer (?:::ffff:)?\[?(.+?)\]?:\d+$/.exec(answer)?.[1], own, "the server sees the client's own address");
  t.is(await call("/shop.Cart/Drop"), "7 Access denied");
}

longTest(
  "HTTP/2 and gRPC are judged between nodes; what lives long outlives the agent, and a proxy that has a successor by drainSeconds",
  (t) =>
    withLab(
      t,
      {
        proxies: true,
        objects: [
          pod("server", {
            node: "node-1",
            ports: allPorts,
            command: [process.execPath, script, "serve", ...allPorts.map(String)],
          }),
          pod("client", { node: "node-2" }),
          policy,
        ],
      },
      async (lab) => {
        await settled(lab);
        const address = async (name: string, family: 4 | 6) => podAddress(lab, name, family);
        await lab.until("the server listens", async () => {
          const url = `http://${await address("default/server", 4)}:${ports.http1}/public/a`;
          return (await lab.exec("default/client", ["curl", "-sf", "-m", "5", url])).code === 0;
        });
        for (const family of families)
          await judgedByClients(
            t,
            lab,
            await address("default/server", family),
            await address("default/client", family),
          );

        const [lasting, finishing] = [await address("default/server", 4), await address("default/server", 6)];
        const streams = await LongStreams.begin(t, lab, "default/client", [lasting, finishing]);
        await streams.goOn("at first");
        await lab.stopAgent("node-1", "SIGKILL");
        await streams.goOn("without an agent");
        await lab.startAgent("node-1");
        await lab.until("the proxy is back at the agent", () => proxyActive(lab.node("node-1")));
        await streams.goOn("with the next agent");
        t.true((await streams.all()).every(({ ended, wrong }) => ended === null && wrong === null));

        const former = await proxyProcess(lab.node("node-1"));
        let before = Date.now();
        let replaced = false;
        const replacing = lab.replaceProxy("node-1").finally(() => {
          replaced = true;
        });
        await lab.until("the next proxy has the flows", async () => {
          const asked = Date.now();
          if ((await proxyProcess(lab.node("node-1"))) !== former && (await proxyActive(lab.node("node-1"))))
            return true;
          before = asked;
          return replaced;
        });
        await streams.goOn("while the former proxy drains");
        t.deepEqual(
          endings(await streams.finish(finishing)),
          ["websocket", "body", "stream", "call"].map((kind) => [kind, "whole", null]),
          "what comes to its end in time is whole",
        );
        await replacing;
        const reset = await streams.ended(lasting);
        for (const { kind, ended, endedAt, lastAt, wrong } of reset) {
          t.is(wrong, null, kind);
          t.not(ended, "whole", kind);
          t.true(
            endedAt >= before + drainSeconds * 1_000,
            `${kind} ended ${endedAt - before} ms after the turn: ${ended}`,
          );
          t.true(endedAt - lastAt < 2_000, `${kind} had no answer for ${endedAt - lastAt} ms before it was reset`);
        }
        t.log(
          Object.fromEntries(reset.map(({ kind, ended, endedAt }) => [kind, `${ended} after ${endedAt - before} ms`])),
        );
        for (const family of families)
          await judgedByClients(
            t,
            lab,
            await address("default/server", family),
            await address("default/client", family),
          );
      },
    ),
);
