/** A DNS server on a node of a lab, and web servers outside, for tests of names. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { FqdnCacheDto, FqdnNameDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";

/** Where the agents of labs with names ask. */
export const nameServer = "127.0.0.1:5353";

export interface NameRecord {
  readonly A?: readonly string[];
  readonly AAAA?: readonly string[];
  readonly CNAME?: string;
  /** Seconds; 1 if not given. */
  readonly ttl?: number;
  readonly SERVFAIL?: boolean;
  /** ms before an answer over UDP. */
  readonly delay?: number;
  /** Gives the address of who asks. */
  readonly who?: boolean;
  /** Told before the right answer and within it, see test/support/names.js. */
  readonly poison?: {
    readonly id: readonly string[];
    readonly question: readonly string[];
    readonly beside: readonly string[];
  };
}

/** A question that a server was asked. */
export interface AskedName {
  /** ms of the system's clock. */
  readonly at: number;
  readonly name: string;
}

export interface Outside {
  /** Five addresses of a web server (port 80) behind the router that no other test object has. */
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  /** Where pods may ask for names, port 53: outside, over UDP and TCP. */
  readonly dns: string;
  /** The same names at port 53 of node-1's own address. */
  serveOnNode(address: string): Promise<void>;
  /** From now on names give this, and no others exist. */
  publish(records: Readonly<Record<string, NameRecord>>): Promise<void>;
  /** What these servers were asked since the start. */
  asked(): Promise<readonly AskedName[]>;
  /** Of the names, for a DNS server elsewhere: `names.js dns HOST PORT FILE BEGUN`. */
  readonly file: string;
}

/** `client` may ask servers (`who`) for what these rules allow, and reach names below open.test on port 80. */
export const openNames = (who: readonly string[], dns: readonly object[]) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "names", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "client" } },
    egress: [
      { toEntities: who, toPorts: [{ ports: [{ port: "53", protocol: "ANY" }], rules: { dns } }] },
      { toFQDNs: [{ matchPattern: "*.open.test" }], toPorts: [{ ports: [{ port: "80", protocol: "TCP" }] }] },
    ],
  },
});

const script = new URL("names.js", import.meta.url).pathname;
const lifeMs = 540_000;

/** Five addresses of each family, and a DNS server on node-1 and outside. All ends with the lab. */
export async function outsideNames(t: ExecutionContext, lab: Lab): Promise<Outside> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-names-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const [external] = lab.plan.externals;
  if (external === undefined) throw new Error("the lab has no external host");
  const numbers = [101, 102, 103, 104, 105];
  const ipv4 = numbers.map((number) => external.ipv4.replace(/\d+$/, String(number)));
  const ipv6 = numbers.map((number) => `${external.ipv6.slice(0, external.ipv6.lastIndexOf(":"))}:${number}`);
  const name = `external/${external.name}`;
  const device = (await lab.exec(name, ["ip", "-o", "-4", "addr", "show", "to", external.ipv4])).stdout.split(/\s+/)[1];
  for (const words of [...ipv4.map((each) => [`${each}/24`]), ...ipv6.map((each) => [`${each}/64`, "nodad"])]) {
    const [address = "", ...rest] = words;
    const added = await lab.exec(name, ["ip", "addr", "add", address, "dev", device ?? "", ...rest]);
    if (added.code !== 0) throw new Error(`${address}: ${added.stderr}`);
  }
  const path = join(folder, "records.json");
  const publish = async (records: Readonly<Record<string, NameRecord>>) => {
    await writeFile(`${path}.next`, JSON.stringify(records));
    await rename(`${path}.next`, path);
  };
  await publish({});
  const begin = async (where: string, ...words: readonly string[]) => {
    const begun = join(folder, words[0] ?? "");
    let ended: string | null = null;
    void lab.exec(where, [process.execPath, script, ...words, begun], { timeoutMs: lifeMs }).then(
      ({ stderr }) => {
        ended = stderr;
      },
      (error: unknown) => {
        ended = String(error);
      },
    );
    await lab.until(`${words[0]} of ${where} listens`, async () => existsSync(begun) || ended !== null);
    if (ended !== null) throw new Error(`${words[0]} of ${where}: ${ended}`);
  };
  await begin(name, "web", "80");
  const [host = "", port = ""] = nameServer.split(":");
  await begin("node/node-1", "dns", host, port, path);
  await rm(join(folder, "dns"));
  await begin(name, "dns", external.ipv4, "53", path);
  const serveOnNode = async (address: string) => {
    await rm(join(folder, "dns"));
    await begin("node/node-1", "dns", address, "53", path);
  };
  const asked = async () => {
    const text = await readFile(`${path}.asked`, "utf8").catch(() => "");
    return [...text.matchAll(/^(\d+) (.+)$/gm)].map(([, at = "", name = ""]) => ({ at: Number(at), name }));
  };
  return { ipv4, ipv6, dns: external.ipv4, serveOnNode, publish, asked, file: path };
}

export async function cachedAddresses(lab: Lab, name: string): Promise<readonly string[]> {
  const { stdout, stderr } = await lab.agent("node-1", ["fqdn", "cache", "list", "--json"]);
  if (stdout === "") throw new Error(stderr);
  const rows = JSON.parse(stdout) as readonly FqdnCacheDto[];
  return rows.find((row) => row.name === name)?.addresses.map(({ address }) => address) ?? [];
}

export async function knownNames(lab: Lab): Promise<readonly FqdnNameDto[]> {
  const { stdout, stderr } = await lab.agent("node-1", ["fqdn", "names", "--json"]);
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout) as readonly FqdnNameDto[];
}

export interface Dug {
  /** "NOERROR", "REFUSED"; none: no answer. */
  readonly code: string;
  readonly addresses: readonly string[];
}

/** dig inside of a pod; once, for 10 s. */
export async function digFrom(lab: Lab, from: string, server: string, ...words: readonly string[]): Promise<Dug> {
  const arguments_ = ["dig", "+tries=1", "+time=10", "+noall", "+comments", "+answer", `@${server}`, ...words];
  const { stdout } = await lab.exec(from, arguments_);
  const addresses = stdout.split("\n").flatMap((line) => /\sIN\s+(?:A|AAAA)\s+(\S+)$/.exec(line)?.[1] ?? []);
  return { code: /status: (\w+)/.exec(stdout)?.[1] ?? "none", addresses };
}
