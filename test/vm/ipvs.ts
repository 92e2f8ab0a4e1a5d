/**
 * Services of IPVS, as kube-proxy and kube-router leave them, are found and taken away by `tandem cleanup`. Here, as not every kernel has IPVS.
 */
import { readFile } from "node:fs/promises";
import { findForeign } from "../../src/cleanup/foreign/find.ts";
import { runTool } from "../../src/native/run-tool.ts";
import { removeForeign } from "../../src/cleanup/foreign/remove.ts";
import type { NativeBinding } from "../../src/native/contract.ts";

type Check = (title: string, body: () => Promise<void>) => Promise<void>;

/** Of kube-router, of kube-proxy, a NodePort at an address of the node's, which may be of either, and of somebody who has nothing to do with them. */
const routers = ["TCP 10.96.0.10:53", "UDP 10.96.0.10:53", "TCP [fd00:96::a]:80"];
const proxies = ["TCP 10.96.1.1:443", "SCTP 10.96.1.1:3868"];
const ports = ["TCP 127.0.0.1:30080"];
const others = ["TCP 203.0.113.5:80"];

async function run(line: string): Promise<string> {
  const [program = "", ...words] = line.split(" ");
  const text = await runTool(program, words);
  if (text === null) throw new Error(`there is no ${program}`);
  return text;
}

function same(seen: readonly string[], expected: readonly string[], what: string): void {
  if (JSON.stringify([...seen].sort()) !== JSON.stringify([...expected].sort()))
    throw new Error(`${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(expected)}`);
}

const flags: Readonly<Record<string, string>> = { TCP: "-t", UDP: "-u", SCTP: "--sctp-service" };

async function add(service: string): Promise<void> {
  const [protocol = "", address = ""] = service.split(" ");
  await run(`ipvsadm -A ${flags[protocol]} ${address} -s rr`);
  const backend = address.startsWith("[") ? "[fd00:64:1::2]:8080" : "10.64.1.2:8080";
  await run(`ipvsadm -a ${flags[protocol]} ${address} -r ${backend} -m`);
}

/** What the kernel has, as the tool that others use tells it. */
async function present(): Promise<readonly string[]> {
  const names = new Map(Object.entries(flags).map(([protocol, flag]) => [flag, protocol]));
  return [...(await run("ipvsadm -Sn")).matchAll(/^-A (\S+) (\S+)/gm)].map(
    ([, flag = "", address]) => `${names.get(flag)} ${address}`,
  );
}

export async function checkIpvs(native: NativeBinding, check: Check): Promise<void> {
  const options = { native, run: runTool, processes: async () => [], dryRun: false };
  const found = async (owner: "kube-proxy" | "kube-router") =>
    (await findForeign({ ...options, owner })).services.map(({ protocol, address }) => `${protocol} ${address}`);
  await check("services of IPVS are found by whose device has their address, of both families", async () => {
    for (const [device, addresses] of [
      ["kube-dummy-if", ["10.96.0.10/32", "fd00:96::a/128"]],
      ["kube-ipvs0", ["10.96.1.1/32"]],
    ] as const) {
      await run(`ip link add ${device} type bridge`);
      for (const address of addresses) await run(`ip addr add ${address} dev ${device}`);
    }
    for (const service of [...routers, ...proxies, ...ports, ...others]) await add(service);
    same(await present(), [...routers, ...proxies, ...ports, ...others], await readFile("/proc/net/ip_vs", "utf8"));
    same(await found("kube-router"), routers, "of kube-router");
    same(await found("kube-proxy"), proxies, "of kube-proxy, beside kube-router");
  });
  await check("each owner's services of IPVS go with its device on request, and nothing else", async () => {
    const dry = await removeForeign({ ...options, owner: "kube-router", dryRun: true });
    same(
      dry.filter(({ what }) => what === "IPVS service").map(({ object }) => object),
      routers,
      "would be removed",
    );
    for (const [owner, left] of [
      ["kube-router", [...proxies, ...ports, ...others]],
      // A port of the node's is whose device is the only one.
      ["kube-proxy", others],
    ] as const) {
      const steps = await removeForeign({ ...options, owner });
      same(
        steps.filter(({ failed }) => failed).map(({ object, outcome }) => `${object} ${outcome}`),
        [],
        "failed",
      );
      same(await present(), left, `after ${owner}'s`);
      same(await found(owner), [], `of ${owner}`);
    }
    if (/kube-(dummy-if|ipvs0)/.test(await run("ip -o link"))) throw new Error("a device is left");
  });
}
