/**
 * `scripts/bench l7-dns`: questions that pods ask through the DNS proxy, beside dnsmasq and unbound that forward without a cache, each on the first
 * core in a network namespace between client and server; dnsperf and the server have the others. The proxy has the rules of a pod and passes datagrams
 * transparently; dnsmasq and unbound are asked by their own address and judge nothing.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inNetns, median, percentile, printTable, type Row, root, sh } from "./support.ts";

export interface DnsBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
}

const client = "tandem-bench-dc";
const middle = "tandem-bench-dm";
const server = "tandem-bench-ds";
const forwarderAddress = "192.0.2.2";
const serverAddress = "198.51.100.53";
const names = 1000;
const steadyRate = 1000;
const steered = "1";
/** As a policy with ten names and patterns demands. */
const patterns = [
  ...Array.from({ length: 9 }, (_, at) => `[-a-zA-Z0-9_]*\\.other${at}\\.example\\.com\\.`),
  "[-a-zA-Z0-9_]*\\.allowed\\.test\\.",
];

interface Figures {
  readonly qps: number;
  /** ms at 1,000 questions a second. */
  readonly p99: number;
}

export async function benchDns({ rounds, seconds }: DnsBenchOptions): Promise<readonly Row[]> {
  const tools = ["/usr/bin/dnsperf", "/usr/sbin/dnsmasq", "/usr/sbin/unbound", "/usr/sbin/nft"];
  const missing = tools.filter((each) => !existsSync(each));
  if (missing.length > 0) {
    console.log(
      `\nl7-dns: not measured: ${missing.join(", ")} missing (Debian: dnsperf, dnsmasq-base, unbound, nftables)`,
    );
    return [];
  }
  const folder = await mkdtemp(join(tmpdir(), "tandem-bench-dns-"));
  const started: ChildProcess[] = [];
  try {
    await wire();
    const questions = join(folder, "questions");
    await writeFile(questions, Array.from({ length: names }, (_, at) => `n${at}.allowed.test A\n`).join(""));
    started.push(await unboundOf(folder, "server", server, upstream, serverAddress));
    const measure = async (address: string): Promise<Figures> => ({
      qps: await dnsperf(questions, address, seconds),
      p99: await steady(questions, address, seconds),
    });
    const measured = {
      direct: [] as Figures[],
      proxy: [] as Figures[],
      dnsmasq: [] as Figures[],
      unbound: [] as Figures[],
    };
    for (let round = 0; round < rounds; round++) {
      measured.direct.push(await measure(serverAddress));
      measured.proxy.push(await withProxy(() => measure(serverAddress)));
      measured.dnsmasq.push(await withDnsmasq(folder, () => measure(forwarderAddress)));
      measured.unbound.push(await withUnbound(folder, () => measure(forwarderAddress)));
    }
    return rowsOf(measured);
  } finally {
    for (const each of started) each.kill("SIGKILL");
    await removeWires();
    await rm(folder, { recursive: true, force: true });
  }
}

function rowsOf(
  measured: Readonly<Record<"direct" | "proxy" | "dnsmasq" | "unbound", readonly Figures[]>>,
): readonly Row[] {
  const qps = (of: keyof typeof measured) => median(measured[of].map((each) => each.qps));
  const p99 = (of: keyof typeof measured) => median(measured[of].map((each) => each.p99));
  const against = (of: "dnsmasq" | "unbound" | "direct", aim: string): Row => ({
    what: `questions/s on one core, beside ${of === "direct" ? "no proxy" : of}`,
    figure: `${Math.round(qps("proxy"))}`,
    baseline: `${Math.round(qps(of))}`,
    ratio: median(measured.proxy.map((each, at) => each.qps / (measured[of][at]?.qps ?? Number.NaN))),
    aim,
  });
  const rows: readonly Row[] = [
    against("dnsmasq", ">= 1.5"),
    against("unbound", ">= 1.5"),
    against("direct", "-"),
    ...(["direct", "dnsmasq", "unbound"] as const).map((of) => ({
      what: `p99 at ${steadyRate} questions/s, beside ${of === "direct" ? "no proxy" : of}`,
      figure: `${p99("proxy").toFixed(3)} ms`,
      baseline: `${p99(of).toFixed(3)} ms`,
      ratio: p99(of) / p99("proxy"),
      aim: of === "direct" ? "+ < 1 ms" : "-",
    })),
  ];
  printTable("DNS of pods through the proxy", rows);
  return rows;
}

async function wire(): Promise<void> {
  await removeWires();
  for (const each of [client, middle, server]) {
    await sh(["ip", "netns", "add", each]);
    await sh(["ip", "-n", each, "link", "set", "lo", "up"]);
  }
  for (const [place, device, near, far] of [
    [client, "c", "192.0.2.1", forwarderAddress],
    [server, "s", serverAddress, "198.51.100.2"],
  ] as const) {
    await sh([
      "ip",
      "-n",
      place,
      "link",
      "add",
      `${device}0`,
      "type",
      "veth",
      "peer",
      "name",
      `${device}1`,
      "netns",
      middle,
    ]);
    await sh(["ip", "-n", place, "addr", "add", `${near}/24`, "dev", `${device}0`]);
    await sh(["ip", "-n", middle, "addr", "add", `${far}/24`, "dev", `${device}1`]);
    await sh(["ip", "-n", place, "link", "set", `${device}0`, "up"]);
    await sh(["ip", "-n", middle, "link", "set", `${device}1`, "up"]);
    await sh(["ip", "-n", place, "route", "add", "default", "via", far]);
  }
  await sh(inNetns(middle, ["sysctl", "-qw", "net.ipv4.ip_forward=1"]));
  await sh(["ip", "-n", middle, "rule", "add", "fwmark", steered, "lookup", "100"]);
  await sh(["ip", "-n", middle, "route", "add", "local", "default", "dev", "lo", "table", "100"]);
}

async function removeWires(): Promise<void> {
  // Those that are not there were removed before.
  for (const each of [client, middle, server]) await sh(["ip", "netns", "del", each]).catch(() => undefined);
}

const upstream = ['local-zone: "allowed.test." redirect', 'local-data: "allowed.test. 60 IN A 203.0.113.1"'];
const pinned = (core: string, command: readonly string[]) => ["taskset", "-c", core, ...command];
const first = "0";
const others = "1-63";

async function start(place: string, core: string, command: readonly string[], answers: string): Promise<ChildProcess> {
  const [file = "", ...words] = inNetns(place, pinned(core, command));
  const process_ = spawn(file, words, { stdio: ["pipe", "ignore", "ignore"] });
  for (let waited = 0; waited < 10_000; waited += 50) {
    const found = await sh(inNetns(place, ["ss", "-Hlun", "sport", "=", answers]));
    if (found !== "") return process_;
    await sleep(50);
  }
  process_.kill("SIGKILL");
  throw new Error(`${command[0]} does not listen on port ${answers}`);
}

async function unboundOf(
  folder: string,
  name: string,
  place: string,
  more: readonly string[],
  address: string,
): Promise<ChildProcess> {
  const path = join(folder, `${name}.conf`);
  const lines = [
    "server:",
    ...[
      'username: ""',
      'chroot: ""',
      'pidfile: ""',
      "use-syslog: no",
      "num-threads: 1",
      `interface: ${address}`,
      "access-control: 0.0.0.0/0 allow",
    ],
    ...["outgoing-range: 8192", "num-queries-per-thread: 4096", 'module-config: "iterator"', ...more],
    "remote-control:",
    "control-enable: no",
  ];
  await writeFile(path, `${lines.join("\n")}\n`);
  return start(place, place === server ? others : first, ["/usr/sbin/unbound", "-d", "-c", path], "53");
}

async function during<T>(process_: ChildProcess, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    const ended = new Promise((resolve) => process_.once("exit", resolve));
    process_.kill("SIGKILL");
    await ended;
  }
}

async function withUnbound<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const forwarding = [
    // Which is nobody's by RFC 6761, and here somebody's.
    'local-zone: "test." nodefault',
    "forward-zone:",
    'name: "."',
    `forward-addr: ${serverAddress}`,
    "forward-no-cache: yes",
  ];
  return during(await unboundOf(folder, "forwarder", middle, forwarding, forwarderAddress), work);
}

async function withDnsmasq<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const words = [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--no-resolv",
    "--no-hosts",
    "--cache-size=0",
    "--dns-forward-max=10000",
    "--bind-interfaces",
  ];
  const more = [
    `--server=${serverAddress}`,
    `--listen-address=${forwarderAddress}`,
    `--pid-file=${join(folder, "dnsmasq.pid")}`,
    "--user=root",
  ];
  return during(await start(middle, first, ["/usr/sbin/dnsmasq", ...words, ...more], "53"), work);
}

async function withProxy<T>(work: () => Promise<T>): Promise<T> {
  const process_ = spawn(
    "nsenter",
    [
      `--net=/run/netns/${middle}`,
      ...pinned(first, [
        process.execPath,
        join(root, "test/support/dns-process.js"),
        "proxy",
        join(root, "build/addon/Release/tandem.node"),
      ]),
    ],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const nft = (...words: readonly string[]) => sh(inNetns(middle, ["/usr/sbin/nft", ...words]));
  try {
    return await during(process_, async () => {
      const absent = { stance: "absent", identity: 0, endpoint: 0, policySet: 0, anyOf: [] };
      const egress = { stance: "asks", identity: 300, endpoint: 1, policySet: 1, anyOf: [{ id: 1, patterns }] };
      const limits = {
        mark: 0x0a00,
        noName: false,
        mostDelay: 100,
        serverTimeout: 10_000,
        mostQuestions: 4096,
        leastTtl: 0,
      };
      const open = { ...limits, host: "0.0.0.0", port: 10_053, names: [], demands: { egress, ingress: absent } };
      process_.stdin?.write(`${JSON.stringify({ open, records: false })}\n`);
      await new Promise((resolve) => process_.stdout?.once("data", resolve));
      await nft("add table ip dns");
      await nft("add chain ip dns steer { type filter hook prerouting priority mangle; }");
      await nft(`add rule ip dns steer iifname s1 udp sport 53 socket transparent 1 meta mark set ${steered} accept`);
      await nft(`add rule ip dns steer iifname c1 udp dport 53 tproxy to :10053 meta mark set ${steered} accept`);
      const found = await work();
      const told = new Promise<Buffer>((resolve) => process_.stdout?.once("data", resolve));
      process_.stdin?.write(`${JSON.stringify({ counts: true })}\n`);
      const { counts } = JSON.parse((await told).toString()) as { readonly counts: { readonly forwarded: number } };
      // Else the rules of nftables did not hold, and the server was measured.
      if (counts.forwarded < names) throw new Error(`the proxy passed ${counts.forwarded} questions on`);
      return found;
    });
  } finally {
    await nft("delete table ip dns").catch(() => undefined);
  }
}

function dnsperfWords(questions: string, address: string, seconds: number, more: readonly string[]): readonly string[] {
  return inNetns(
    client,
    pinned(others, ["dnsperf", "-s", address, "-d", questions, "-l", String(Math.max(1, Math.ceil(seconds))), ...more]),
  );
}

/** Questions a second that are answered, with 200 under way from 20 sockets. */
async function dnsperf(questions: string, address: string, seconds: number): Promise<number> {
  const text = await sh(dnsperfWords(questions, address, seconds, ["-c", "20", "-q", "200"]));
  const found = /Queries per second:\s+([\d.]+)/.exec(text)?.[1];
  if (found === undefined || /NOERROR \d+ \((?:100|99)\./.exec(text) === null)
    throw new Error(`dnsperf of ${address}: ${text}`);
  return Number(found);
}

/** @returns ms */
async function steady(questions: string, address: string, seconds: number): Promise<number> {
  const text = await sh(dnsperfWords(questions, address, seconds * 2, ["-c", "20", "-Q", String(steadyRate), "-v"]));
  const latencies = [...text.matchAll(/^> NOERROR \S+ A ([\d.]+)$/gm)].map(([, each]) => Number(each) * 1000);
  if (latencies.length < steadyRate / 2) throw new Error(`dnsperf of ${address}: ${latencies.length} answers`);
  return percentile(latencies, 0.99);
}
