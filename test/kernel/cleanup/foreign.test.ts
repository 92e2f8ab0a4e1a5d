/** Rules of kube-proxy and kube-router in a namespace, written by real iptables of both kinds, and taken away by `tandem cleanup`. */
import { execFile } from "node:child_process";
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
