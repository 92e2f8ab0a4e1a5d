/**
 * HTTP/1.1 through the L7 engine, against no proxy, haproxy and nginx with the same rules, each proxy on one core: requests over connections that
 * go on, what a proxy adds to a request's time at a rate that all can bear, new connections, a large body, what further rules cost, and what idle
 * connections hold.
 */
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { cpuOf, header, isMissing, L7Lab, type Load, Loads, onCore, readWrk, url } from "./l7-lab.ts";
import { median, percentile, printTable, type Row, sh } from "./support.ts";

export interface L7HttpOptions {
  readonly rounds: number;
  readonly seconds: number;
}

const ports = {
  server: 18_080,
  tandem: 18_081,
  haproxy: 18_082,
  nginx: 18_083,
  of10: 18_084,
  of100: 18_085,
  of1000: 18_086,
} as const;
const ruleCounts = [10, 100, 1000] as const;
/** A second, of 16 clients together. */
const steadyRate = 2000;
type Way = keyof typeof ports | `${"tandem" | "haproxy" | "nginx"} anew`;

const largeBytes = 1 << 30;
// A proxy holds both ends of each, and a process has 20,000 descriptors where nobody raised that.
const idleConnections = 9500;

export async function benchL7Http({ rounds, seconds }: L7HttpOptions): Promise<readonly Row[]> {
  if (
    await isMissing(
      "l7-http",
      ["wrk", "h2load", "haproxy", "nginx", "taskset"],
      "wrk, nghttp2-client, haproxy, nginx-light",
    )
  )
    return [];
  const lab = new L7Lab();
  try {
    await sh(["truncate", "-s", String(largeBytes), join(lab.folder, "large")]);
    await lab.nginx(
      1,
      "server",
      `server { listen ${ports.server} reuseport; location /api { return 200 "hello"; } location /api/v1/items/large { alias ${lab.folder}/large; } }`,
      ports.server,
    );
    const tandem = await lab.engine(ports.tandem, ports.server, 1);
    const of10 = await lab.engine(ports.of10, ports.server, 10);
    const of100 = await lab.engine(ports.of100, ports.server, 100);
    const of1000 = await lab.engine(ports.of1000, ports.server, 1000);
    const haproxy = await lab.haproxy(ports.haproxy, ports.server);
    const nginx = await lab.nginx(
      0,
      "proxy",
      `map "$request_method:$http_x_token" $good { "GET:42" 1; default 0; }
  upstream out { server 127.0.0.1:${ports.server}; keepalive 64; }
  server { listen ${ports.nginx}; location ~ ^/api/v[0-9]+/items/ { if ($good = 0) { return 403; } proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering on; } location / { return 403; } }`,
      ports.nginx,
    );

    const pids: Readonly<Partial<Record<Way, number>>> = { tandem, haproxy, nginx, of10, of100, of1000 };
    const wrk = async (to: keyof typeof ports, more: readonly string[] = []) => {
      const time = `-d${Math.max(1, Math.round(seconds))}s`;
      const pid = pids[to];
      const before = pid === undefined ? 0 : cpuOf(pid);
      const command = ["wrk", "-t1", "-c16", time, "--latency", "-H", header, ...more, url(ports[to])];
      const load = readWrk(await sh(onCore(1, command)));
      return pid === undefined ? load : { ...load, cpu: (cpuOf(pid) - before) / load.requests };
    };
    const loads = new Loads<Way>();
    await loads.measure(rounds, ["tandem", "haproxy", "nginx", "of10", "of100", "of1000", "server"], (way) =>
      wrk(way as keyof typeof ports),
    );
    await loads.measure(rounds, ["tandem anew", "haproxy anew", "nginx anew"], (way) =>
      wrk(way.slice(0, -5) as keyof typeof ports, ["-H", "Connection: close"]),
    );
    const steady = new Loads<Way>();
    await steady.measure(rounds, ["tandem", "haproxy", "nginx", "server"], (way) =>
      steadyLoad(lab, ports[way as keyof typeof ports], seconds),
    );
    const bodies = await measureBodies(rounds);
    const idle = { tandem: await idleBytes(tandem, ports.tandem), haproxy: await idleBytes(haproxy, ports.haproxy) };

    const against = (what: string, a: Way, b: Way, aim: string): Row => ({
      what,
      figure: loads.rate(a),
      baseline: loads.rate(b),
      ratio: loads.ratio(a, b),
      aim,
    });
    const cpu = (what: string, a: Way, b: Way, aim: string): Row => ({
      what: `processor time of ${what}`,
      figure: `${loads.of(a, "cpu").toFixed(1)} us`,
      baseline: `${loads.of(b, "cpu").toFixed(1)} us`,
      ratio: loads.of(a, "cpu") / loads.of(b, "cpu"),
      aim,
    });
    const added = (part: "p50" | "p99", other: "haproxy" | "nginx"): Row => {
      const direct = steady.of("server", part);
      return {
        what: `${part} added at ${steadyRate} requests/s (direct ${direct.toFixed(0)} us), against ${other}`,
        figure: `${(steady.of("tandem", part) - direct).toFixed(0)} us`,
        baseline: `${(steady.of(other, part) - direct).toFixed(0)} us`,
        ratio: (steady.of(other, part) - direct) / (steady.of("tandem", part) - direct),
        aim: "-",
      };
    };
    const rows: Row[] = [
      against("requests, against haproxy", "tandem", "haproxy", ">= 1.0"),
      cpu("a request, against haproxy", "tandem", "haproxy", "<= 1.0"),
      cpu("a request, against nginx", "tandem", "nginx", "-"),
      against("requests, against nginx", "tandem", "nginx", "-"),
      against("requests, against no proxy", "tandem", "server", ">= 0.6"),
      {
        what: "latency at full load, against haproxy",
        figure: loads.latency("tandem"),
        baseline: loads.latency("haproxy"),
        ratio: loads.of("haproxy", "p99") / loads.of("tandem", "p99"),
        aim: "-",
      },
      ...(["p50", "p99"] as const).flatMap((part) => [added(part, "haproxy"), added(part, "nginx")]),
      ...ruleCounts.map((rules) =>
        against(`requests with ${rules} rules, against one`, `of${rules}`, "tandem", "flat"),
      ),
      ...ruleCounts.map((rules) => cpu(`a request of ${rules} rules, against one`, `of${rules}`, "tandem", "flat")),
      cpu("a new connection, against haproxy", "tandem anew", "haproxy anew", "-"),
      cpu("a new connection, against nginx", "tandem anew", "nginx anew", "-"),
      against("new connections, against haproxy", "tandem anew", "haproxy anew", "-"),
      against("new connections, against nginx", "tandem anew", "nginx anew", "-"),
      {
        what: "a body of 1 GiB, against direct",
        figure: `${median(bodies.map(({ through }) => through)).toFixed(0)} MB/s`,
        baseline: `${median(bodies.map(({ direct }) => direct)).toFixed(0)} MB/s`,
        ratio: median(bodies.map(({ through, direct }) => through / direct)),
        aim: ">= 0.8",
      },
      {
        what: `memory of each of ${idleConnections} idle connections, against haproxy`,
        figure: `${idle.tandem.toFixed(0)} bytes`,
        baseline: `${idle.haproxy.toFixed(0)} bytes`,
        ratio: idle.tandem / idle.haproxy,
        aim: "-",
      },
    ];
    printTable("HTTP/1.1 with rules for method, path and header, one core a proxy", rows);
    return rows;
  } finally {
    lab.stop();
  }
}

/** Requests at `steadyRate`, none of which waits for another. */
async function steadyLoad(lab: L7Lab, port: number, seconds: number): Promise<Load> {
  const clients = 16;
  const log = join(lab.folder, "steady");
  const time = Math.max(2, Math.round(seconds * 2));
  const load = [
    "h2load",
    "--h1",
    "-t1",
    `-c${clients}`,
    `--rps=${steadyRate / clients}`,
    `-D${time}`,
    `--log-file=${log}`,
  ];
  await sh(onCore(1, [...load, "-H", header, url(port)]));
  // Start in us, status, us until the end of the answer; those of the first quarter find connections and caches that are new.
  const lines = readFileSync(log, "utf8").trim().split("\n");
  rmSync(log);
  const requests = lines.map((line) => line.split("\t").map(Number)).slice(lines.length >> 2);
  if (requests.some(([, status]) => status !== 200)) throw new Error(`not all requests to port ${port} were answered`);
  const times = requests.map(([, , us = Number.NaN]) => us);
  return { rate: lines.length / time, p50: median(times), p99: percentile(times, 0.99) };
}

async function measureBodies(
  rounds: number,
): Promise<readonly { readonly through: number; readonly direct: number }[]> {
  const body = async (port: number) => {
    const before = performance.now();
    const curl = ["curl", "-s", "-o", "/dev/null", "-H", header, url(port, "/api/v1/items/large")];
    await sh(onCore(1, curl), 120_000);
    return largeBytes / 1e6 / ((performance.now() - before) / 1000);
  };
  // The file's pages are read once before.
  await body(ports.server);
  const bodies: { through: number; direct: number }[] = [];
  for (let round = 0; round < Math.max(3, rounds); round++) {
    bodies.push({ through: await body(ports.tandem), direct: await body(ports.server) });
  }
  return bodies;
}

/** What a process grows by for each connection that has asked once and stays; the kernel's memory is not in it. */
async function idleBytes(pid: number, port: number): Promise<number> {
  const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
  const sockets: Socket[] = [];
  const before = resident();
  const open = async () => {
    const socket = connect(port, "127.0.0.1");
    sockets.push(socket);
    await once(socket, "connect");
    socket.write(`GET /api/v1/items/7 HTTP/1.1\r\nhost: a\r\n${header}\r\n\r\n`);
    await once(socket, "data");
  };
  while (sockets.length < idleConnections) await Promise.all(Array.from({ length: 50 }, open));
  const grown = (resident() - before) / idleConnections;
  for (const socket of sockets) socket.destroy();
  return grown;
}
