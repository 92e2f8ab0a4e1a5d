/** A node for the datapath alone: a namespace, a bpffs folder, pods as veth pairs, and datapaths that come and go on its pins. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ExecutionContext } from "ava";
import type { CompiledDirection, CompiledSet, DesiredEndpoint, DesiredState } from "../../../src/compute/desired.ts";
import { type AgentConfig, configSchema } from "../../../src/config/schema.ts";
import type { Datapath } from "../../../src/datapath/index.ts";
import type { DatapathEvent, DatapathReport } from "../../../src/datapath/report.ts";
import { type Address, parseAddress } from "../../../src/model/ip.ts";
import type { Problem } from "../../../src/model/status.ts";
import type { LocalEndpointRow } from "../../../src/model/tables.ts";
import { packageRoot } from "../../../src/native/index.ts";
import type { MapName } from "../../../src/native/layouts.gen.ts";
import { holders } from "../../support/holders.ts";
import { eventually, native } from "../../support/native.ts";
import { type Netns, netns } from "../../support/netns.ts";

const run = promisify(execFile);
const driver = fileURLToPath(new URL("driver.ts", import.meta.url));

/** What a call of the driver was refused with. */
export class DriverError extends Error {
  readonly code: string;
  readonly object: string;
  readonly remedy: string;

  constructor(told: { message: string; code?: string; object?: string; remedy?: string }) {
    super(told.message);
    this.code = told.code ?? "";
    this.object = told.object ?? "";
    this.remedy = told.remedy ?? "";
  }
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { message: string; code?: string; object?: string; remedy?: string };
}

/** The methods of a datapath in another process. */
export class RemoteDatapath {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #next = 1;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (message) => {
      const answer = message as Answer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
  }

  start = (config: AgentConfig) => this.#call("start", config) as Promise<void>;
  apply = (desired: DesiredState) => this.#call("apply", desired) as Promise<void>;
  verify = () => this.#call("verify") as Promise<void>;
  close = () => this.#call("close") as Promise<void>;
  report = () => this.#call("report") as Promise<DatapathReport>;
  endpointState = (id: number) => this.#call("endpointState", id) as Promise<ReturnType<Datapath["endpointState"]>>;
  traffic = () => this.#call("traffic") as Promise<ReturnType<Datapath["traffic"]>>;
  conntrack = () => this.#call("conntrack") as ReturnType<Datapath["conntrack"]>;
  identities = () => this.#call("identities") as ReturnType<Datapath["identities"]>;
  policySets = () => this.#call("policySets") as ReturnType<Datapath["policySets"]>;
  services = () => this.#call("services") as ReturnType<Datapath["services"]>;
  whenReady = (pod: string, timeoutMs: number) => this.#call("whenReady", pod, timeoutMs) as Promise<void>;
  problems = () => this.#call("problems") as Promise<readonly Problem[]>;
  events = () => this.#call("events") as Promise<readonly DatapathEvent[]>;

  /** Entries written since its start, by reconciler. */
  async writes(): Promise<Readonly<Record<string, number>>> {
    return Object.fromEntries((await this.report()).reconcilers.map(({ name, writes }) => [name, writes]));
  }

  /** As a crash would. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await ended;
  }

  #call(call: string, ...args: readonly unknown[]): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const ended = (code: number | null) => reject(new Error(`the datapath's process ended with ${code}`));
      this.#child.once("exit", ended);
      this.#waiting.set(id, ({ result, error }) => {
        this.#child.off("exit", ended);
        if (error === undefined) resolve(result);
        else reject(new DriverError(error));
      });
      this.#child.send({ id, call, args });
    });
  }
}

export class Node {
  readonly netns: Netns;
  readonly bpffs: string;
  readonly #t: ExecutionContext;
  #pods = 0;

  private constructor(t: ExecutionContext, space: Netns, bpffs: string) {
    this.#t = t;
    this.netns = space;
    this.bpffs = bpffs;
  }

  static async create(t: ExecutionContext): Promise<Node> {
    const bpffs = await mkdtemp("/run/tandem-datapath-");
    t.teardown(async () => {
      await run("umount", ["-l", bpffs]).catch(() => undefined);
      await rm(bpffs, { recursive: true, force: true });
    });
    return new Node(t, await netns(t), bpffs);
  }

  config(settings: Readonly<Record<string, unknown>> = {}): AgentConfig {
    return configSchema.parse({
      nodeName: "node",
      bpffs: this.bpffs,
      objects: join(packageRoot(), "build/bpf"),
      // small, so that tests are quick
      mapSizes: { ct4: 1024, ct6: 1024, ipcache4: 2048, ipcache6: 2048 },
      ...settings,
    });
  }

  /** A process in the node's namespace, not started yet. */
  async process(): Promise<RemoteDatapath> {
    const child = spawn("nsenter", [`--net=${this.netns.path}`, process.execPath, "--import=tsx", driver], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      serialization: "advanced",
      cwd: packageRoot(),
    });
    const remote = new RemoteDatapath(child);
    this.#t.teardown(() => remote.kill());
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", (code) => reject(new Error(`the datapath's process ended with ${code}`)));
    });
    return remote;
  }

  async datapath(settings: Readonly<Record<string, unknown>> = {}): Promise<RemoteDatapath> {
    const remote = await this.process();
    await remote.start(this.config(settings));
    return remote;
  }

  /** A pod as the CNI plugin makes it: a veth pair, its addresses, its routes. */
  async addPod(name: string): Promise<Pod> {
    const number = ++this.#pods;
    const space = await netns(this.#t);
    const device = `tdm${number}`;
    const podMac = `02:00:00:00:00:${number.toString(16).padStart(2, "0")}`;
    const hostMac = `02:00:00:00:01:${number.toString(16).padStart(2, "0")}`;
    await this.netns.ip(`link add ${device} address ${hostMac} type veth peer name eth0 netns ${space.name}`);
    await space.ip(`link set eth0 address ${podMac}`);
    const ipv4 = address(`10.9.0.${number}`);
    const ipv6 = address(`fd00:9::${number.toString(16)}`);
    await space.ip(`addr add ${ipv4.text}/32 dev eth0`);
    await space.ip(`addr add ${ipv6.text}/128 dev eth0 nodad`);
    await space.ip("link set eth0 up");
    await this.netns.ip(`link set ${device} up`);
    await space.ip("route add 169.254.1.1 dev eth0");
    await space.ip("route add default via 169.254.1.1 dev eth0");
    await space.ip(`neigh add 169.254.1.1 lladdr ${hostMac} dev eth0`);
    const row: LocalEndpointRow = {
      pod: `shop/${name}`,
      uid: null,
      containerId: `container-${name}`,
      id: number,
      ifindex: await this.netns.index(device),
      ifname: device,
      netns: space.path,
      ipv4,
      ipv6,
      podMac,
      hostMac,
      policyAuditMode: null,
    };
    return { row, netns: space };
  }

  /** Waits until so many programs of pods are links: new devices begin with filters. */
  async linked(count: number): Promise<void> {
    await eventually(async () => {
      const names = await readdir(join(this.bpffs, "links"));
      return names.filter((name) => name.includes("_pod-")).length === count;
    });
  }

  /** Entries of a pinned map, read past the datapath. */
  async entries(name: MapName): Promise<readonly { readonly key: Buffer; readonly value: Buffer }[]> {
    const map = native.openPinnedMap(join(this.bpffs, "maps", name));
    try {
      const { keys, values, count } = await native.mapDump(map.handle);
      return Array.from({ length: count }, (_, index) => ({
        key: keys.subarray(index * map.keySize, (index + 1) * map.keySize),
        value: values.subarray(index * map.valueSize, (index + 1) * map.valueSize),
      }));
    } finally {
      native.closeMap(map.handle);
    }
  }
}

export interface Pod {
  readonly row: LocalEndpointRow;
  readonly netns: Netns;
}

export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`${text} is no address`);
  return parsed;
}

const open: CompiledDirection = {
  enforced: false,
  denies: 0,
  allows: 0,
  redirects: 0,
  outsideOnly: [],
  peers: new Map(),
  prefixes: [],
  ports: [],
  origins: [],
};

/** A set that lets these identities in (on every port), and everything out. */
export function allowing(key: string, ...identities: readonly number[]): CompiledSet {
  const ingress: CompiledDirection = {
    ...open,
    enforced: true,
    allows: 1,
    peers: new Map(identities.map((identity) => [identity, [0]])),
    ports: [{ protocol: 0, port: 0, bits: 0, groups: [0] }],
    origins: [[`NetworkPolicy shop/${key} ingress[0]`]],
  };
  return { key, digest: `allow ${identities.join(",")} ${key}`, egress: open, ingress, refused: null };
}

export function openSet(key: string): CompiledSet {
  return { key, digest: "open", egress: open, ingress: open, refused: null };
}

export function endpointOf(pod: Pod, identity: number, set: string | null): DesiredEndpoint {
  return { row: pod.row, identity, set, audit: false };
}

export const nothing: DesiredState = {
  identities: new Map(),
  clusterPrefixes: [],
  endpoints: [],
  sets: [],
  frontends: [],
  uplinks: [],
};

export function identityOf(pod: Pod, identity: number): DesiredState["identities"] {
  const addresses = [pod.row.ipv4, pod.row.ipv6].flatMap((each) => each ?? []);
  return holders(...addresses.map((address) => ({ address, identity, localNode: false, node: false })));
}

/** What `look` finds, sooner or later. */
export async function found<T extends object>(look: () => Promise<T | undefined>): Promise<T> {
  const seen = await eventually(look);
  if (seen === undefined) throw new Error("not found");
  return seen;
}
