/**
 * A client, the product's DNS proxy and a DNS server, each in a network namespace of its own: 192.0.2.1 and 2001:db8:1::1 ask 198.51.100.53 and
 * 2001:db8:2::53, and the namespace between them gives their datagrams to the proxy by rules of nftables.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { ExecutionContext } from "ava";
import type { DnsCounts, DnsLookup, DnsOptions } from "../../src/native/dns-contract.ts";
import { packageRoot } from "../../src/native/index.ts";
import { type Netns, netns } from "./netns.ts";

const run = promisify(execFile);
export const client4 = "192.0.2.1";
export const client6 = "2001:db8:1::1";
export const server4 = "198.51.100.53";
export const server6 = "2001:db8:2::53";
const mark = 0x0a00;
const steered = 1;

/** A process that is told and tells by lines of JSON. */
export class Talker {
  readonly said: Record<string, unknown>[] = [];
  readonly #process: ChildProcess;

  constructor(t: ExecutionContext, place: Netns, words: readonly string[]) {
    const script = `${packageRoot()}/test/support/dns-process.js`;
    this.#process = spawn("nsenter", [`--net=${place.path}`, process.execPath, script, ...words], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const { stdout } = this.#process;
    if (stdout !== null) createInterface({ input: stdout }).on("line", (line) => this.said.push(JSON.parse(line)));
    t.teardown(async () => {
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
      const ended = once(this.#process, "exit");
      this.#process.kill("SIGKILL");
      await ended;
    });
  }

  /** MiB of memory that the process holds. */
  async memory(): Promise<number> {
    const status = await readFile(`/proc/${this.#process.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }

  tell(value: object): void {
    this.#process.stdin?.write(`${JSON.stringify(value)}\n`);
  }

  /** The first line from `from` on that is so. */
  async hear(
    what: string,
    isMeant: (value: Record<string, unknown>) => boolean,
    from = 0,
  ): Promise<Record<string, unknown>> {
    for (let waited = 0; waited < 60_000; waited += 10) {
      const found = this.said.slice(from).find(isMeant);
      if (found !== undefined) return found;
      if (this.#process.exitCode !== null) break;
      await sleep(10);
    }
    throw new Error(
      `${what} was not heard of ${this.#process.spawnargs.slice(1).join(" ")}: ${JSON.stringify(this.said)}`,
    );
  }

  /** Waits for so many lines that are so. */
  async heard(count: number, isMeant: (value: Record<string, unknown>) => boolean): Promise<void> {
    for (let waited = 0; waited < 60_000; waited += 10) {
      if (this.said.filter(isMeant).length >= count) return;
      await sleep(10);
    }
    throw new Error(`${this.said.filter(isMeant).length} of ${count} lines were heard`);
  }

  /** Tells it, and waits until it has done so. */
  async ask(value: object): Promise<Record<string, unknown>> {
    const from = this.said.length;
    this.tell(value);
    return this.hear(JSON.stringify(value), (said) => "done" in said || "counts" in said, from);
  }
}

export class DnsWorld {
  readonly client: Netns;
  readonly middle: Netns;
  readonly server: Netns;
  readonly proxy: Talker;

  private constructor(client: Netns, middle: Netns, server: Netns, proxy: Talker) {
    this.client = client;
    this.middle = middle;
    this.server = server;
    this.proxy = proxy;
  }

  static async make(
    t: ExecutionContext,
    options: Partial<DnsOptions> & { readonly host?: string } = {},
  ): Promise<DnsWorld> {
    const [client, middle, server] = [await netns(t), await netns(t), await netns(t)];
    await join(client, middle, "c", [client4, "192.0.2.2"], [client6, "2001:db8:1::2"]);
    await join(server, middle, "s", [server4, "198.51.100.2"], [server6, "2001:db8:2::2"]);
    await middle.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    const host = options.host ?? "0.0.0.0";
    await steer(middle, host.includes(":") ? "ip6" : "ip");
    const answering = new Talker(t, server, ["server", "53", server4, server6]);
    for (const each of [server4, server6]) await answering.hear(each, ({ listening }) => listening === each);
    const proxy = new Talker(t, middle, [
      "proxy",
      process.env.TANDEM_ADDON ?? `${packageRoot()}/build/addon/Release/tandem.node`,
    ]);
    await proxy.ask({ open: { ...usual, ...options, host, port: 10_053 }, records: true });
    return new DnsWorld(client, middle, server, proxy);
  }

  /** dig of the client: the answer's code, and its addresses. */
  async dig(
    ...words: readonly string[]
  ): Promise<{ readonly code: string; readonly addresses: readonly string[]; readonly text: string }> {
    const arguments_ = [
      `--net=${this.client.path}`,
      "dig",
      "+tries=1",
      "+time=20",
      "+noall",
      "+comments",
      "+answer",
      ...words,
    ];
    const { stdout } = await run("nsenter", arguments_).catch((error: { readonly stdout?: string }) => ({
      stdout: error.stdout ?? "",
    }));
    const addresses = stdout.split("\n").flatMap((line) => /\sIN\s+(?:A|AAAA)\s+(\S+)$/.exec(line)?.[1] ?? []);
    return { code: /status: (\w+)/.exec(stdout)?.[1] ?? "none", addresses, text: stdout };
  }

  async counts(): Promise<DnsCounts & { readonly known: number }> {
    return (await this.proxy.ask({ counts: true })).counts as DnsCounts & { readonly known: number };
  }

  /** The lookup of the name, which JavaScript is told. */
  async lookup(name: string, from = 0): Promise<DnsLookup> {
    const named = (said: Record<string, unknown>) =>
      (said.lookups as readonly DnsLookup[] | undefined)?.find((each) => each.name === name);
    const found = named(await this.proxy.hear(`lookup of ${name}`, (said) => named(said) !== undefined, from));
    if (found === undefined) throw new Error(`no lookup of ${name}`);
    return found;
  }
}

const allowing = (...patterns: readonly string[]) => ({
  stance: "asks" as const,
  identity: 5001,
  endpoint: 7,
  policySet: 3,
  anyOf: [{ id: 11, patterns }],
});
const absent = { stance: "absent" as const, identity: 0, endpoint: 0, policySet: 0, anyOf: [] };

/** Names below allowed.test. are allowed, and those below open.allowed.test. are for toFQDNs. */
export const usual: Omit<DnsOptions, "socket"> = {
  mark,
  noName: false,
  mostDelay: 60_000,
  serverTimeout: 10_000,
  mostQuestions: 512,
  leastTtl: 0,
  names: [{ policySet: 3, pattern: "[-a-z0-9_]*\\.open\\.allowed\\.test\\." }],
  demands: { egress: allowing("(?:[-a-z0-9_]+\\.)+allowed\\.test\\."), ingress: absent },
};

async function join(
  outer: Netns,
  middle: Netns,
  name: string,
  four: readonly [string, string],
  six: readonly [string, string],
): Promise<void> {
  await outer.ip(`link add ${name}0 type veth peer name ${name}1 netns ${middle.name}`);
  for (const [place, device, at] of [
    [outer, `${name}0`, 0],
    [middle, `${name}1`, 1],
  ] as const) {
    await place.ip(`addr add ${four[at]}/24 dev ${device}`);
    await place.ip(`addr add ${six[at]}/64 dev ${device} nodad`);
    await place.ip(`link set ${device} up`);
  }
  await outer.ip(`route add default via ${four[1]}`);
  await outer.ip(`-6 route add default via ${six[1]}`);
}

/** What the datapath does in a cluster: questions to the proxy's socket, answers of servers to the sockets that asked. */
async function steer(middle: Netns, family: "ip" | "ip6"): Promise<void> {
  const rule = family === "ip6" ? "-6 rule" : "rule";
  const route = family === "ip6" ? "-6 route" : "route";
  await middle.ip(`${rule} add fwmark ${steered} lookup 100`);
  await middle.ip(`${route} add local default dev lo table 100`);
  const rules = [
    `add table ${family} dns`,
    `add chain ${family} dns steer { type filter hook prerouting priority mangle; }`,
    `add rule ${family} dns steer iifname s1 udp sport 53 socket transparent 1 meta mark set ${steered} accept`,
    `add rule ${family} dns steer iifname c1 udp dport 53 tproxy to :10053 meta mark set ${steered} accept`,
  ];
  // By its path: npx puts another nft in front.
  for (const each of rules) await middle.exec("/usr/sbin/nft", each);
}
