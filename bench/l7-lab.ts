/** What the benchmarks of L7 share: proxies pinned to one core, load and server to another, the same rules in each (method, path, header). */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { median, root, sh } from "./support.ts";

export const path = "/api/v1/items/7";
export const header = "X-Token: 42";
export const url = (port: number, at = path) => `http://127.0.0.1:${port}${at}`;

/** One core for what is measured, one for everything else. */
export const onCore = (core: 0 | 1, command: readonly string[]) => ["taskset", "-c", String(core), ...command];

/** Those that this machine has not; says so. */
export async function isMissing(section: string, tools: readonly string[], packages: string): Promise<boolean> {
  const script = `for tool in ${tools.join(" ")}; do command -v $tool >/dev/null || echo $tool; done`;
  const missing = (await sh(["sh", "-c", script])).trim();
  if (missing === "") return false;
  console.log(`${section} is left out: this machine has no ${missing.split("\n").join(", no ")} (Debian: ${packages})`);
  return true;
}

const nginx = (folder: string, name: string, server: string) => `
daemon off; master_process off; pid ${folder}/${name}.pid; error_log /dev/null crit; worker_rlimit_nofile 16384;
events { worker_connections 16384; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder}; sendfile on;
  ${server}
}`;

async function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const open = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return open;
}

/** Processes and files of one run. */
export class L7Lab {
  readonly folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  readonly #stops: (() => void)[] = [() => rmSync(this.folder, { recursive: true, force: true })];

  /** Until it listens. @returns its process */
  async start(command: readonly string[], port: number): Promise<number> {
    const [file = "", ...args] = command;
    const child = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
    this.#stops.push(() => void child.kill("SIGKILL"));
    for (let tries = 0; !(await isOpen(port)); tries++) {
      if (tries > 200) throw new Error(`${command.join(" ")} does not listen at ${port}`);
      await sleep(50);
    }
    return child.pid ?? 0;
  }

  write(name: string, text: string): string {
    const file = join(this.folder, name);
    writeFileSync(file, text);
    return file;
  }

  /** nginx with that in its http block. */
  nginx(core: 0 | 1, name: string, block: string, port: number): Promise<number> {
    return this.start(onCore(core, ["nginx", "-c", this.write(`${name}.conf`, nginx(this.folder, name, block))]), port);
  }

  /** The engine with so many rules, of which the last one is what is asked for. */
  engine(port: number, server: number, rules: number): Promise<number> {
    const tool = join(root, "bench/tools/l7-engine.ts");
    const words = [process.execPath, "--import=tsx", tool, String(port), String(server), String(rules)];
    return this.start(onCore(0, words), port);
  }

  haproxy(port: number, server: number): Promise<number> {
    const file = this.write(
      "haproxy.cfg",
      `global
  nbthread 1
  maxconn 9700
  maxpipes 64
defaults
  mode http
  option splice-auto
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:${port}
  http-request deny deny_status 403 unless { method GET } { path_reg ^/api/v[0-9]+/items/.*$ } { req.hdr(x-token) -m str 42 }
  default_backend out
backend out
  http-reuse always
  server s 127.0.0.1:${server}
`,
    );
    return this.start(onCore(0, ["haproxy", "-db", "-f", file]), port);
  }

  stop(): void {
    for (const stop of this.#stops.reverse()) stop();
  }
}

/** Microseconds of processor time that all threads of a process have taken. */
export function cpuOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const each = threads.map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]),
  );
  return each.reduce((sum, ns) => sum + ns, 0) / 1000;
}

export interface Load {
  /** A second. */
  readonly rate: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Of the proxy, microseconds for a request; what else runs on the machine changes it less than the rate. */
  readonly cpu?: number;
}

/** Each way in turn, `rounds` times. */
export class Loads<Way extends string> {
  readonly #loads = new Map<Way, Load[]>();

  async measure(rounds: number, ways: readonly Way[], load: (way: Way) => Promise<Load>): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      for (const way of ways) this.#loads.set(way, [...(this.#loads.get(way) ?? []), await load(way)]);
    }
  }

  of(way: Way, part: keyof Load): number {
    return median((this.#loads.get(way) ?? []).map((each) => each[part] ?? Number.NaN));
  }

  /** Median of the pairs. */
  ratio(a: Way, b: Way): number {
    const others = this.#loads.get(b) ?? [];
    return median((this.#loads.get(a) ?? []).map(({ rate }, round) => rate / (others[round]?.rate ?? Number.NaN)));
  }

  rate(way: Way): string {
    return `${this.of(way, "rate").toFixed(0)} /s`;
  }

  latency(way: Way): string {
    return `${this.of(way, "p50").toFixed(0)} us p50, ${this.of(way, "p99").toFixed(0)} us p99`;
  }
}

/** wrk's text: "Requests/sec: 1234.5", "50%  1.23ms". */
export function readWrk(text: string): Load & { readonly requests: number } {
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
  if (/Non-2xx/.test(text) || !(rate > 0)) throw new Error(`not all requests were answered:\n${text}`);
  const us = (share: string) => {
    const [, number, unit] = new RegExp(`${share}%\\s+([\\d.]+)(us|ms|s)`).exec(text) ?? [];
    return Number(number) * (unit === "s" ? 1e6 : unit === "ms" ? 1e3 : 1);
  };
  return { requests: Number(/(\d+) requests in/.exec(text)?.[1]), rate, p50: us("50"), p99: us("99") };
}
