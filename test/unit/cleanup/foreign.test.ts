/** Whose a rule is, and what takes it out. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { ownedTables, ownerOf, removal } from "../../../src/cleanup/foreign/chains.ts";
import { ipvsServices, ipvsWords } from "../../../src/cleanup/foreign/ipvs.ts";
import { holdsRules, processesOf } from "../../../src/cleanup/foreign/processes.ts";
import { removeForeign } from "../../../src/cleanup/foreign/remove.ts";
import { ForeignWatch } from "../../../src/cleanup/foreign/report.ts";
import type { Problem } from "../../../src/model/status.ts";
import type { RunTool } from "../../../src/native/run-tool.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const dump = `*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC123 - [0:0]
:KUBE-ROUTER-SERVICES - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j MINE
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-ABC123
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-POD-FW-XYZ - [0:0]
-A FORWARD -m comment --comment "a -j trap" -j KUBE-POD-FW-XYZ
-A FORWARD -j KUBE-FIREWALL
COMMIT
`;

test("chains of kube-proxy, of kube-router, and nobody's", (t) => {
  for (const chain of ["KUBE-SERVICES", "KUBE-SEP-X7", "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY", "KUBE-NODE-PORT"])
    t.is(ownerOf(chain), "kube-proxy", chain);
  for (const chain of ["KUBE-ROUTER-INPUT", "KUBE-POD-FW-A1", "KUBE-NWPLCY-DEFAULT", "KUBE-ROUTER-HAIRPIN"])
    t.is(ownerOf(chain), "kube-router", chain);
  for (const chain of ["KUBE-FIREWALL", "KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "INPUT", "CILIUM_FORWARD", ""])
    t.is(ownerOf(chain), null, chain);
});

test("an owner's chains go with the rules that lead there, table by table, and nothing else", (t) => {
  const proxy = ownedTables(dump, "kube-proxy");
  t.is(
    removal(proxy),
    `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC123 - [0:0]
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-X KUBE-SERVICES
-X KUBE-SVC-ABC123
:TANDEM-CONNTRACK - [0:0]
-A TANDEM-CONNTRACK -m conntrack --ctstate NEW -m comment --comment "connections of rules that are gone go on" -j RETURN
COMMIT
`,
  );
  t.notRegex(removal([{ table: "filter", chains: ["KUBE-FORWARD"], jumps: [] }]), /TANDEM/, "filter begins none");
  t.deepEqual(ownedTables(dump, "kube-router"), [
    { table: "nat", chains: ["KUBE-ROUTER-SERVICES"], jumps: [] },
    {
      table: "filter",
      chains: ["KUBE-POD-FW-XYZ"],
      jumps: ['-A FORWARD -m comment --comment "a -j trap" -j KUBE-POD-FW-XYZ'],
    },
  ]);
  t.deepEqual(ownedTables("", "kube-proxy"), []);
});

test("services of IPVS are read from /proc, and named for ipvsadm", (t) => {
  const text = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0A09000A:192B      Masq    1      0          0
UDP  [2001:0db8:0000:0000:0000:0000:0000:000a]:0035 mh
FWM  0000000F rr
`;
  const services = ipvsServices(text);
  t.deepEqual(services.map(ipvsWords), [
    ["-t", "10.96.0.1:443"],
    ["-u", "[2001:db8::a]:53"],
    ["-f", "15"],
  ]);
});

test("processes that hold rules are told from kube-router that only speaks BGP", async (t) => {
  const proc = await mkdtemp(join(tmpdir(), "tandem-proc-"));
  t.teardown(() => rm(proc, { recursive: true, force: true }));
  const commands = [
    ["7", "/usr/local/bin/kube-proxy", "--v=2"],
    ["8", "/usr/local/bin/kube-router", "--run-service-proxy=false", "--run-firewall=false"],
    ["9", "kube-router", "--run-firewall=false"],
    ["10", "sh", "-c", "kube-proxy"],
    ["11", "kube-proxy"],
  ] as const;
  await mkdir(join(proc, "self/ns"), { recursive: true });
  await symlink("net:[1]", join(proc, "self/ns/net"));
  for (const [pid, ...words] of commands) {
    await mkdir(join(proc, pid, "ns"), { recursive: true });
    await symlink(pid === "11" ? "net:[2]" : "net:[1]", join(proc, pid, "ns/net"));
    await writeFile(join(proc, pid, "cmdline"), `${words.join("\0")}\0`);
  }
  t.deepEqual(
    (await processesOf("kube-proxy", proc)).map(({ pid }) => pid),
    [7],
  );
  const routers = await processesOf("kube-router", proc);
  t.deepEqual(
    routers.filter((each) => holdsRules("kube-router", each)).map(({ pid }) => pid),
    [9],
  );
});

/** Tools that print this, and what they were asked. */
function tools(prints: Readonly<Record<string, string>>) {
  const asked: string[] = [];
  const run: RunTool = async (program, words, input) => {
    asked.push([program, ...words, ...(input === undefined ? [] : [`< ${input.split("\n")[0]}`])].join(" "));
    return prints[program] ?? (program === "nft" ? null : "");
  };
  const native = {
    links: async () => [{ index: 7, name: "kube-dummy-if" }] as never,
    addresses: async () => [],
    applyNetlink: async () => [],
  };
  return { asked, run, native };
}

test("rules go before sets, what runs is refused, and what is not looked for is told", async (t) => {
  const { asked, run, native } = tools({
    "iptables-legacy-save": dump,
    ipset: "kube-router-local-ips\nKUBE-SRC-AAAA\nother\n",
  });
  const options = { native, run, owner: "kube-router" as const, dryRun: false };
  const running = async () => [{ pid: 9, words: ["kube-router"] }];
  await t.throwsAsync(removeForeign({ ...options, processes: running }), { message: /process 9/ });
  const none = async () => [];
  const dry = await removeForeign({ ...options, dryRun: true, processes: running });
  t.false(asked.some((each) => /restore|destroy/.test(each)));
  asked.length = 0;
  const steps = await removeForeign({ ...options, processes: none });
  t.deepEqual(steps, dry);
  t.deepEqual(
    steps.map(({ what, object }) => `${what}: ${object}`),
    [
      ...["chains: 1 of nat (iptables-legacy)", "chains: 1 of filter (iptables-legacy)", "device: kube-dummy-if"],
      ...["ipset: kube-router-local-ips", "ipset: KUBE-SRC-AAAA", "not looked for: nft"],
    ],
  );
  t.deepEqual(
    asked.filter((each) => /restore|destroy/.test(each)),
    [
      "iptables-legacy-restore --noflush < *nat",
      "iptables-legacy-restore --noflush < *filter",
      "ipset destroy kube-router-local-ips",
      "ipset destroy KUBE-SRC-AAAA",
    ],
  );
});

test("an agent tells what it finds when it starts, and again until it is gone", async (t) => {
  const prints: Record<string, string> = { "iptables-nft-save": dump };
  const { run, native } = tools(prints);
  const clock = new ManualClock();
  const reports: (readonly Problem[])[] = [];
  const conditions = { report: (_topic: string, problems: readonly Problem[]) => void reports.push(problems) };
  const watch = new ForeignWatch({ native, run, conditions, clock });
  const told = () => (reports.at(-1) ?? []).map(({ object }) => object).join(" ");
  const until = async (objects: string) => {
    while (told() !== objects) {
      await clock.advance(600_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  watch.start();
  await until("kube-proxy kube-router");
  t.is(reports[0]?.[0]?.code, "FOREIGN_RULES");
  t.regex(reports[0]?.[0]?.message ?? "", /2 chains of iptables-nft;/);
  t.regex(reports[0]?.[1]?.message ?? "", /device kube-dummy-if/);
  prints["iptables-nft-save"] = "";
  await until("kube-router");
  await watch.stop();
});
