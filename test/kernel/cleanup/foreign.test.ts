/** Rules of kube-proxy and kube-router in a namespace, written by real iptables of both kinds, and taken away by `tandem cleanup`. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { packageRoot } from "../../../src/native/index.ts";
import { netns, type Netns } from "../../support/netns.ts";

const flavours = ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"] as const;
const here = flavours.filter((each) => existsSync(`/usr/sbin/${each}`));

async function restore(space: Netns, flavour: string, input: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const words = [`--net=${space.path}`, `/usr/sbin/${flavour}-restore`];
    const child = execFile("nsenter", words, (error, _out, stderr) => (error ? reject(new Error(stderr)) : resolve()));
    child.stdin?.end(input);
  });
}

const rulesOf = (vip: string) => `*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-AAAA - [0:0]
:KUBE-SEP-BBBB - [0:0]
:KUBE-ROUTER-HAIRPIN - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-ROUTER-HAIRPIN
-A PREROUTING -j MINE
-A KUBE-SERVICES -d ${vip} -p tcp -j KUBE-SVC-AAAA
-A KUBE-SVC-AAAA -j KUBE-SEP-BBBB
-A KUBE-SEP-BBBB -j RETURN
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-POD-FW-CCCC - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
-A FORWARD -j KUBE-POD-FW-CCCC
-A KUBE-POD-FW-CCCC -j KUBE-NWPLCY-DEFAULT
-A INPUT -j KUBE-FIREWALL
COMMIT
`;

/** Chains and jumps, without counters and comments. */
async function chainsOf(space: Netns, flavour: string): Promise<string> {
  const text = await space.exec(`/usr/sbin/${flavour}-save`);
  return [...new Set(text.match(/\b(KUBE-[A-Z-]+|MINE)\b/g) ?? [])].sort().join(" ");
}

interface Answer {
  readonly code: number;
  readonly stdout: string;
}

/** As a user calls it, on the node. */
function cleanup(space: Netns, ...flags: readonly string[]): Promise<Answer> {
  const program = [process.execPath, "--import=tsx", join(packageRoot(), "src/cli/main.ts"), "cleanup", "--json"];
  return new Promise((resolve) => {
    const words = [`--net=${space.path}`, ...program, ...flags];
    execFile("nsenter", words, { cwd: packageRoot() }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout + stderr }),
    );
  });
}

if (here.length === 0) {
  test("rules that others left", (t) => {
    t.log("skipped: this machine has no iptables of either kind");
    t.pass();
  });
} else {
  test("each owner's rules go on request, of both kinds of iptables; others' and the kubelet's stay", async (t) => {
    const space = await netns(t);
    for (const flavour of here)
      await restore(space, flavour, rulesOf(flavour.startsWith("ip6") ? "fd00:96::1/128" : "10.96.0.1/32"));
    const all = await Promise.all(here.map((flavour) => chainsOf(space, flavour)));
    const dry = await cleanup(space, "--kube-proxy", "--dry-run");
    t.is(dry.code, 0, dry.stdout);
    for (const flavour of here) t.true(dry.stdout.includes(`3 of nat (${flavour})`), dry.stdout);
    t.deepEqual(await Promise.all(here.map((flavour) => chainsOf(space, flavour))), all);
    t.regex((await cleanup(space, "--kube-proxy")).stdout, /NOT_CONFIRMED/);

    t.is((await cleanup(space, "--kube-proxy", "--yes")).code, 0);
    for (const flavour of here)
      t.is(
        await chainsOf(space, flavour),
        "KUBE-FIREWALL KUBE-NWPLCY-DEFAULT KUBE-POD-FW-CCCC KUBE-ROUTER-HAIRPIN MINE",
      );
    t.is((await cleanup(space, "--kube-router-services", "--yes")).code, 0);
    for (const flavour of here) t.is(await chainsOf(space, flavour), "KUBE-FIREWALL MINE");
  });

  test("while kube-proxy runs nothing is taken away", async (t) => {
    const space = await netns(t);
    const [flavour = "iptables-nft"] = here;
    await restore(space, flavour, rulesOf("10.96.0.1/32"));
    const before = await chainsOf(space, flavour);
    const proxy = execFile("nsenter", [`--net=${space.path}`, "bash", "-c", "exec -a kube-proxy sleep 600"]);
    t.teardown(() => proxy.kill("SIGKILL"));
    let answer = await cleanup(space, "--kube-proxy", "--yes");
    // its name is there when the shell has become it
    while (answer.code === 0) {
      await restore(space, flavour, rulesOf("10.96.0.1/32"));
      answer = await cleanup(space, "--kube-proxy", "--yes");
    }
    t.regex(answer.stdout, /FOREIGN_RUNNING/);
    t.is(await chainsOf(space, flavour), before);
  });
}

const tools = ["nft", "ipset", "iptables-nft"].filter((each) => !existsSync(`/usr/sbin/${each}`));
if (tools.length > 0) {
  test("tables of nftables, ipsets and devices that others left", (t) => {
    t.log(`skipped: this machine has no ${tools.join(", no ")}`);
    t.pass();
  });
} else {
  test("tables of nftables, ipsets in use and devices go with their owner; those of others stay", async (t) => {
    const space = await netns(t);
    const run = (line: string) => {
      const [program = "", ...words] = line.split(" ");
      return space.exec(program, ...words);
    };
    for (const table of ["ip kube-proxy", "ip6 kube-proxy", "ip kube-router-filter-ipv4", "ip mine"]) {
      await run(`/usr/sbin/nft add table ${table}`);
      await run(`/usr/sbin/nft add chain ${table} input`);
    }
    for (const set of ["KUBE-CLUSTER-IP", "kube-router-local-ips", "mine"]) {
      await run(`/usr/sbin/ipset create ${set} hash:ip`);
    }
    await run("ip link add kube-dummy-if type bridge");
    await run("ip link add kube-ipvs0 type bridge");
    // Sets that rules name cannot go before the rules.
    const rules = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-ROUTER-HAIRPIN - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT
-A POSTROUTING -m set --match-set kube-router-local-ips src -j KUBE-ROUTER-HAIRPIN
COMMIT
`;
    await restore(space, "iptables-nft", rules);
    const state = async () => ({
      tables: (await run("/usr/sbin/nft list tables")).match(/kube-\S+|mine/g)?.sort() ?? [],
      sets: (await run("/usr/sbin/ipset list -n")).trim().split("\n").sort(),
      devices: (await run("ip -o link")).match(/kube-\w+(-if)?/g)?.sort() ?? [],
      chains: await chainsOf(space, "iptables-nft"),
    });

    const proxy = await cleanup(space, "--kube-proxy", "--yes");
    t.is(proxy.code, 0, proxy.stdout);
    t.deepEqual(await state(), {
      tables: ["kube-router-filter-ipv4", "mine"],
      sets: ["kube-router-local-ips", "mine"],
      devices: ["kube-dummy-if"],
      chains: "KUBE-ROUTER-HAIRPIN",
    });
    const router = await cleanup(space, "--kube-router-services", "--yes");
    t.is(router.code, 0, router.stdout);
    t.deepEqual(await state(), { tables: ["mine"], sets: ["mine"], devices: [], chains: "" });
  });
}

/** A line each 20 ms over one connection until it is told to end: "SENT ANSWERED". */
const talk = `const { createServer, connect } = require("node:net");
createServer((socket) => socket.pipe(socket)).listen(8080, "10.0.9.1", () => {
  let sent = 0, answered = 0, ending = false;
  const socket = connect({ host: "10.96.9.1", port: 80, noDelay: true });
  socket.on("error", (error) => { console.log(String(error)); process.exit(1); });
  socket.on("data", (chunk) => { answered += chunk.length; if (answered === 5) console.log("begun"); });
  process.stdin.on("end", () => { ending = true; }).resume();
  setInterval(() => {
    if (answered < sent) return void (ending && Date.now() > last + 3000 && end());
    if (ending && sent > atEnd + 20) end();
    if (!ending) atEnd = sent;
    last = Date.now();
    socket.write("x"); sent++;
  }, 20);
  let atEnd = 0, last = Date.now();
  const end = () => { console.log(sent + " " + answered); process.exit(0); };
});`;

const chains = `*nat
:KUBE-SERVICES - [0:0]
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.9.1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.9.1:8080
COMMIT
`;
const table = `table ip kube-proxy {
  chain output {
    type nat hook output priority -100;
    ip daddr 10.96.9.1 tcp dport 80 dnat to 10.0.9.1:8080
  }
}`;

for (const tool of ["iptables-nft", "iptables-legacy", "nft"]) {
  test(`a connection that kube-proxy's rules translate goes on when they are gone (${tool})`, async (t) => {
    if (!existsSync(`/usr/sbin/${tool}`)) {
      t.log(`skipped: this machine has no ${tool}`);
      t.pass();
      return;
    }
    const space = await netns(t);
    await space.ip("addr add 10.0.9.1/32 dev lo");
    await space.ip("route add 10.96.9.1 dev lo");
    if (tool === "nft") await space.exec("/usr/sbin/nft", table);
    else await restore(space, tool, chains);
    const child = execFile("nsenter", [`--net=${space.path}`, process.execPath, "-e", talk]);
    t.teardown(() => child.kill("SIGKILL"));
    let told = "";
    child.stdout?.on("data", (text) => {
      told += text;
    });
    const ended = once(child, "close");
    while (!told.includes("begun") && child.exitCode === null) await once(child.stdout ?? child, "data");
    t.is((await cleanup(space, "--kube-proxy", "--yes")).code, 0);
    t.false((await space.exec("/usr/sbin/nft", "list", "ruleset")).includes("dnat"));
    child.stdin?.end();
    await ended;
    const [sent, answered] = told.replace("begun", "").trim().split(" ").map(Number);
    t.true((sent ?? 0) > 20, told);
    t.is(answered, sent, told);
  });
}
