/**
 * HTTP/1.1 through the L7 engine, against no proxy, haproxy and nginx with the same rules (method, path, header), each proxy pinned to one core
 * and load and server to another; requests over connections that go on, a large body, and what further rules cost.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { median, printTable, root, type Row, sh } from "./support.ts";

export interface L7HttpOptions {
  readonly rounds: number;
  readonly seconds: number;
}

const ports = { server: 18_080, tandem: 18_081, haproxy: 18_082, nginx: 18_083, many: 18_084 } as const;
const url = (port: number, path = "/api/v1/items/7") => `http://127.0.0.1:${port}${path}`;
const core = (number: number, command: readonly string[]) => ["taskset", "-c", String(number), ...command];
const largeBytes = 1 << 30;

const nginx = (folder: string, name: string, server: string) => `
daemon off; master_process off; pid ${folder}/${name}.pid; error_log /dev/null crit; worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder}; sendfile on;
  ${server}
}`;

interface Load {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

/** wrk's text: "Requests/sec: 1234.5", "50%  1.23ms". */
function read(text: string): Load {
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
  if (/Non-2xx/.test(text) || !(rate > 0)) throw new Error(`not all requests were answered:\n${text}`);
  const us = (share: string) => {
    const [, number, unit] = new RegExp(`${share}%\\s+([\\d.]+)(us|ms|s)`).exec(text) ?? [];
    return Number(number) * (unit === "s" ? 1e6 : unit === "ms" ? 1e3 : 1);
  };
  return { rate, p50: us("50"), p99: us("99") };
}

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const open = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return open;
}

export async function benchL7Http({ rounds, seconds }: L7HttpOptions): Promise<readonly Row[]> {
  const missing = await sh([
    "sh",
    "-c",
    "for tool in wrk haproxy nginx taskset; do command -v $tool >/dev/null || echo $tool; done",
  ]);
  if (missing.trim() !== "") {
    console.log(
      `l7-http is left out: this machine has no ${missing.trim().split("\n").join(", no ")} (Debian: wrk, haproxy, nginx-light)`,
    );
    return [];
  }
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  const stops: (() => void)[] = [() => rmSync(folder, { recursive: true, force: true })];
  const start = async (command: readonly string[], port: number) => {
    const [file = "", ...args] = command;
    const child = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
    stops.push(() => void child.kill("SIGKILL"));
    for (let tries = 0; !(await isOpen(port)); tries++) {
      if (tries > 200) throw new Error(`${command.join(" ")} does not listen at ${port}`);
      await sleep(50);
    }
    return child.pid ?? 0;
  };
  try {
    await sh(["truncate", "-s", String(largeBytes), join(folder, "large")]);
    const files = (name: string, server: string) => {
      const file = join(folder, `${name}.conf`);
      writeFileSync(file, nginx(folder, name, server));
      return ["nginx", "-c", file];
    };
    await start(
      core(
        1,
        files(
          "server",
          `server { listen ${ports.server} reuseport; location /api { return 200 "hello"; } location /api/v1/items/large { alias ${folder}/large; } }`,
        ),
      ),
      ports.server,
    );
    const engine = (port: number, rules: number) =>
      core(0, [
        process.execPath,
        "--import=tsx",
        join(root, "bench/tools/l7-engine.ts"),
        String(port),
        String(ports.server),
        String(rules),
      ]);
    await start(engine(ports.tandem, 1), ports.tandem);
    await start(engine(ports.many, 1000), ports.many);
    const haproxy = join(folder, "haproxy.cfg");
    writeFileSync(
      haproxy,
      `global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:${ports.haproxy}
  http-request deny deny_status 403 unless { method GET } { path_reg ^/api/v[0-9]+/items/.*$ } { req.hdr(x-token) -m str 42 }
  default_backend out
backend out
  http-reuse always
  server s 127.0.0.1:${ports.server}
`,
    );
    await start(core(0, ["haproxy", "-db", "-f", haproxy]), ports.haproxy);
    const proxying = `map "$request_method:$http_x_token" $good { "GET:42" 1; default 0; }
  upstream out { server 127.0.0.1:${ports.server}; keepalive 64; }
  server { listen ${ports.nginx}; location ~ ^/api/v[0-9]+/items/ { if ($good = 0) { return 403; } proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering on; } location / { return 403; } }`;
    await start(core(0, files("proxy", proxying)), ports.nginx);

    const load = async (port: number) =>
      read(
        await sh(
          core(1, [
            "wrk",
            "-t1",
            "-c16",
            `-d${Math.max(1, Math.round(seconds))}s`,
            "--latency",
            "-H",
            "X-Token: 42",
            url(port),
          ]),
        ),
      );
    const ways = ["tandem", "haproxy", "nginx", "many", "server"] as const;
    const loads = new Map(ways.map((way) => [way, [] as Load[]]));
    for (let round = 0; round < rounds; round++) {
      for (const way of ways) loads.get(way)?.push(await load(ports[way]));
    }
    const of = (way: (typeof ways)[number], part: keyof Load) =>
      median((loads.get(way) ?? []).map((each) => each[part]));
    const ratio = (a: (typeof ways)[number], b: (typeof ways)[number]) =>
      median((loads.get(a) ?? []).map(({ rate }, round) => rate / (loads.get(b)?.[round]?.rate ?? Number.NaN)));
    const rate = (way: (typeof ways)[number]) => `${of(way, "rate").toFixed(0)} /s`;
    const us = (way: (typeof ways)[number]) =>
      `${of(way, "p50").toFixed(0)} us p50, ${of(way, "p99").toFixed(0)} us p99`;
    const body = async (port: number) => {
      const before = performance.now();
      await sh(
        core(1, ["curl", "-s", "-o", "/dev/null", "-H", "X-Token: 42", url(port, "/api/v1/items/large")]),
        120_000,
      );
      return largeBytes / 1e6 / ((performance.now() - before) / 1000);
    };
    const bodies: { through: number; direct: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      bodies.push({ through: await body(ports.tandem), direct: await body(ports.server) });
    }
    const rows: Row[] = [
      {
        what: "requests, against haproxy",
        figure: rate("tandem"),
        baseline: rate("haproxy"),
        ratio: ratio("tandem", "haproxy"),
        aim: ">= 1.0",
      },
      {
        what: "requests, against nginx",
        figure: rate("tandem"),
        baseline: rate("nginx"),
        ratio: ratio("tandem", "nginx"),
        aim: "-",
      },
      {
        what: "requests, against no proxy",
        figure: rate("tandem"),
        baseline: rate("server"),
        ratio: ratio("tandem", "server"),
        aim: ">= 0.6",
      },
      {
        what: "latency at full load, against haproxy",
        figure: us("tandem"),
        baseline: us("haproxy"),
        ratio: of("haproxy", "p99") / of("tandem", "p99"),
        aim: "-",
      },
      {
        what: "requests with 1,000 rules, against one",
        figure: rate("many"),
        baseline: rate("tandem"),
        ratio: ratio("many", "tandem"),
        aim: "flat",
      },
      {
        what: "a body of 1 GiB, against direct",
        figure: `${median(bodies.map(({ through }) => through)).toFixed(0)} MB/s`,
        baseline: `${median(bodies.map(({ direct }) => direct)).toFixed(0)} MB/s`,
        ratio: median(bodies.map(({ through, direct }) => through / direct)),
        aim: ">= 0.8",
      },
    ];
    printTable("HTTP/1.1 with rules for method, path and header, one core a proxy", rows);
    return rows;
  } finally {
    for (const stop of stops.reverse()) stop();
  }
}
