/** A kernel in memory that knows what the CNI service asks of one, and calls as runtimes make them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CniRequest } from "../../../src/api/dto.ts";
import { type CniOptions, CniService } from "../../../src/cni/index.ts";
import { type Prefix, parsePrefix } from "../../../src/model/ip.ts";
import type { LocalEndpointRow } from "../../../src/model/tables.ts";
import type { NativeBinding } from "../../../src/native/contract.ts";
import type {
  AddressRow,
  LinkRow,
  NetlinkChange,
  NetlinkChangeFailure,
  RouteRow,
} from "../../../src/native/netlink-contract.ts";

interface Namespace {
  links: LinkRow[];
  addresses: AddressRow[];
  routes: RouteRow[];
}

const folder = mkdtempSync(join(tmpdir(), "tandem-cni-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
let nodes = 0;

export class FakeKernel {
  readonly namespaces = new Map<string, Namespace>();
  /** Set to let the next change of this kind fail. */
  failNext: NetlinkChange["kind"] | "veth" | null = null;
  #nextIndex = 2;

  at(netns: string | null): Namespace {
    const name = netns ?? "";
    const namespace = this.namespaces.get(name) ?? { links: [], addresses: [], routes: [] };
    this.namespaces.set(name, namespace);
    return namespace;
  }

  addLink(netns: string | null, link: { name: string; alias: string; mtu?: number; address?: Buffer }): LinkRow {
    const row: LinkRow = {
      index: this.#nextIndex++,
      name: link.name,
      kind: "veth",
      mtu: link.mtu ?? 1500,
      flags: 0,
      type: 1,
      address: link.address ?? Buffer.alloc(6),
      operstate: 0,
      peerIndex: 0,
      master: 0,
      alias: link.alias,
    };
    this.at(netns).links.push(row);
    return row;
  }

  binding(): NativeBinding {
    const part: Partial<NativeBinding> = {
      links: async (netns) => [...this.at(netns).links],
      addresses: async (netns) => [...this.at(netns).addresses],
      routes: async (netns) => [...this.at(netns).routes],
      writeSysctls: async () => undefined,
      netnsCookie: async (netns) => BigInt(netns === null || netns === "/proc/1/ns/net" ? 0 : 1),
      createVeth: async (netns, request) => {
        if (this.#fails("veth")) throw new Error("create veth: EEXIST");
        const index = this.addLink(netns, { name: request.name, alias: request.alias, mtu: request.mtu }).index;
        const peer = this.addLink(request.peerNetns, { name: request.peerName, alias: "", mtu: request.mtu });
        return { index, peerIndex: peer.index };
      },
      applyNetlink: async (netns, changes) =>
        changes.flatMap((change, at): NetlinkChangeFailure[] => {
          if (this.#fails(change.kind)) return [{ at, code: "EPERM", errno: 1, log: null }];
          return this.#apply(this.at(netns), change) ? [] : [{ at, code: "ENODEV", errno: 19, log: null }];
        }),
    };
    const missing = { get: (target: object, name: string) => Reflect.get(target, name) ?? unexpected(name) };
    return new Proxy(part, missing) as NativeBinding;
  }

  #fails(kind: NonNullable<FakeKernel["failNext"]>): boolean {
    if (this.failNext !== kind) return false;
    this.failNext = null;
    return true;
  }

  #apply(namespace: Namespace, change: NetlinkChange): boolean {
    switch (change.kind) {
      case "link": {
        const link = namespace.links.find((one) => one.index === change.index);
        if (change.op === "set") {
          namespace.links = namespace.links.map((one) => (one === link ? { ...one, flags: 1 } : one));
          return link !== undefined || change.index === 1;
        }
        namespace.links = namespace.links.filter((one) => one !== link);
        namespace.routes = namespace.routes.filter((route) => route.nextHops[0]?.index !== change.index);
        return link !== undefined;
      }
      case "address":
        namespace.addresses.push(change.address);
        return true;
      case "route":
        namespace.routes.push(change.route);
        return true;
      default:
        return true;
    }
  }
}

export class FakeStore {
  readonly endpoints = new Map<string, LocalEndpointRow>();

  readonly upsert = ((_name: string, key: string, row: LocalEndpointRow) => {
    this.endpoints.set(key, row);
  }) as CniOptions["store"]["upsert"];

  readonly delete = ((_name: string, key: string) => {
    this.endpoints.delete(key);
  }) as CniOptions["store"]["delete"];

  readonly table = ((name: string) =>
    name === "uplinks"
      ? new Map([["5", { ifindex: 5, name: "eth0", mtu: 1400, l3: false }]])
      : this.endpoints) as unknown as CniOptions["store"]["table"];
}

export function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`${text} is not a prefix`);
  return parsed;
}

/** A node with its state folder; `start` starts an agent on it, as often as wanted. */
export function makeNode(podCidrs: readonly string[] = ["10.7.1.0/24", "fd00:7:1::/64"]) {
  const kernel = new FakeKernel();
  const stateDir = join(folder, String(nodes++));
  const lines: string[] = [];
  const log: CniOptions["log"] = {
    debug: () => undefined,
    info: () => undefined,
    warn: (_fields, message) => void lines.push(message),
    error: (_fields, message) => void lines.push(message),
    child: () => log,
  };
  let now = 0;
  /** An agent that does not know its endpoints yet. */
  const prepare = (more: Partial<CniOptions> = {}) => {
    const store = new FakeStore();
    const cni = new CniService({
      native: kernel.binding(),
      store,
      config: { stateDir, ipv4: true, ipv6: true },
      mtu: () => 1400,
      log,
      clock: { now: () => now++, monotonicMs: () => now, sleep: (ms, signal) => sleep(ms, signal) },
      ready: async () => undefined,
      podCidrs: () => podCidrs.map(prefix),
      ...more,
    });
    const call = async (request: CniRequest, signal = new AbortController().signal) => {
      const { exitCode, output } = await cni.handle(request, signal);
      // biome-ignore lint/suspicious/noExplicitAny: results of several shapes, looked into by assertions
      return { exitCode, output: (output === "" ? null : JSON.parse(output)) as any };
    };
    return { cni, store, call };
  };
  const start = async (more: Partial<CniOptions> = {}) => {
    const agent = prepare(more);
    await agent.cni.restore();
    return agent;
  };
  return { kernel, stateDir, log, lines, prepare, start };
}

export function add(container: string, more: { config?: object; args?: string; ifname?: string } = {}): CniRequest {
  return {
    command: "ADD",
    containerId: container,
    netns: `/run/netns/${container}`,
    ifname: more.ifname ?? "eth0",
    args: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${container}${more.args ?? ""}`,
    path: "/opt/cni/bin",
    config: JSON.stringify({ cniVersion: "1.1.0", name: "tandem", type: "tandem-cni", ...more.config }),
  };
}

export function del(container: string): CniRequest {
  return { ...add(container), command: "DEL", netns: "" };
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}

function unexpected(name: string): never {
  throw new Error(`the CNI service called ${name}`);
}
