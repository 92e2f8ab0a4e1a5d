/** The table of nft that leads marked packets to the L7 proxy: what it says, and what becomes of it when others write there, too. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { ProxyRedirection } from "../../../src/datapath/proxy-redirection.ts";
import { contentOf, removeTproxyTable, TproxyTable, tproxyRuleset } from "../../../src/datapath/tproxy-table.ts";
import { packageRoot } from "../../../src/native/index.ts";
import type { Problem } from "../../../src/model/status.ts";
import type { RunTool } from "../../../src/native/run-tool.ts";
import { silentLogger } from "../../../src/model/logging.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const both = { ipv4: true, ipv6: true };

test("its marks are those of the programs", (t) => {
  const header = readFileSync(join(packageRoot(), "bpf/include/tandem/config.h"), "utf8");
  const mark = (name: string) => {
    const [, value] = new RegExp(`^#define MARK_${name} (\\w+)$`, "m").exec(header) ?? [];
    return Number(value);
  };
  const hex = (number: number) => `0x${number.toString(16).padStart(8, "0")}`;
  const rules = tproxyRuleset(both);
  t.true(rules.includes(`meta mark & ${hex(mark("MASK"))} != ${hex(mark("TO_LISTENER"))} accept`), rules);
  t.true(rules.includes(`| ${hex(mark("TO_PROXY"))} meta pkttype set host accept`));
  t.true(rules.includes(`meta mark & ${hex(mark("LISTENER_MASK"))} map @listeners`));
  t.true(rules.includes(`${hex(2 ** mark("LISTENER_SHIFT"))} : 15601`), "the first listener");
});

/** nft with one table, as text. */
class FakeNft {
  table: string | null = null;
  /** What it says instead of obeying. */
  failure: string | null = null;
  readonly run: RunTool = async (program, words, input = "") => {
    if (program !== "nft") return null;
    if (this.failure !== null) throw new Error(`nft: ${this.failure}`);
    if (words[0] === "-f") this.table = input.slice(input.indexOf("table inet tandem-tproxy {"));
    else if (words[0] === "delete") this.table = null;
    else if (words.join(" ") === "list tables")
      return this.table === null ? "table ip nat\n" : "table inet tandem-tproxy\n";
    else if (this.table === null) throw new Error("nft: No such file or directory");
    return this.table ?? "";
  };
}

function redirection(nft: FakeNft) {
  const clock = new ManualClock();
  let told: readonly Problem[] = [];
  const conditions = {
    report: (_: string, problems: readonly Problem[]) => {
      told = problems;
    },
  };
  const made = new ProxyRedirection({ run: nft.run, config: both, clock, conditions, log: silentLogger });
  return { made, clock, codes: () => told.map(({ code }) => code) };
}

test("each listener's port has a mark, and what finds no socket is dropped last", (t) => {
  const lines = tproxyRuleset(both).split("\n");
  t.deepEqual(lines.slice(0, 2), ["add table inet tandem-tproxy", "delete table inet tandem-tproxy"], "in one step");
  const elements = [...(lines.find((line) => line.startsWith("elements")) ?? "").matchAll(/0x(\w+) : (\d+)/g)];
  t.is(elements.length, 256);
  for (const [at, [, mark = "", port]] of elements.entries()) {
    t.is(Number.parseInt(mark, 16), at * 0x1_0000);
    t.is(Number(port), 15_600 + at);
  }
  const rules = lines.filter((line) => /^(meta|counter)/.test(line));
  t.deepEqual(
    rules.map((rule) => /accept$|drop$/.exec(rule)?.[0]),
    ["accept", "accept", "accept", "drop"],
  );
  t.is(rules[0], "meta mark & 0x00000f00 != 0x00000900 accept", "nobody else's packets");
  t.regex(rules[1] ?? "", /nfproto ipv4 .* tproxy ip to 127\.0\.0\.1:meta mark & 0x00ff0000 map @listeners/);
  t.regex(rules[2] ?? "", /nfproto ipv6 .* tproxy ip6 to \[::1\]:/);
  for (const rule of rules.slice(1, 3))
    t.true(rule.includes("meta mark set meta mark & 0xff00f0ff | 0x00000a00 meta pkttype set host"), rule);
});

test("a family that pods do not have has no rule", (t) => {
  t.false(tproxyRuleset({ ipv4: true, ipv6: false }).includes("ip6"));
  t.false(tproxyRuleset({ ipv4: false, ipv6: true }).includes("127.0.0.1"));
});

test("counts and the order of entries are no difference, another rule is", (t) => {
  const listing = "map m { elements = { 1 : 2, 3 : 4 } }\ncounter packets 7 bytes 420 drop";
  t.is(contentOf(listing), contentOf("map m { elements = { 3 : 4,\n\t1 : 2 } }\n\tcounter packets 0 bytes 0 drop"));
  t.not(contentOf(listing), contentOf(listing.replace("drop", "accept")));
});

test("a table that is flushed or changed is put back, and one that is whole left alone", async (t) => {
  const nft = new FakeNft();
  const table = new TproxyTable(nft.run, both);
  await table.place();
  t.false(await table.verify());
  const whole: string = nft.table ?? "";
  for (const other of [null, whole.replace("counter drop", "counter accept")]) {
    nft.table = other;
    t.true(await table.verify());
    t.is(nft.table as string | null, whole);
  }
  t.is(table.counters.repaired, 2);
  t.true(await removeTproxyTable(nft.run));
  t.false(await removeTproxyTable(nft.run));
});

test("the table is there before programs mark, watched while they do, and goes when they do not", async (t) => {
  const nft = new FakeNft();
  const { made, clock, codes } = redirection(nft);
  t.is(await made.prepare({ redirect: "tproxy", redirectWhy: "setting proxyRedirect" }), "tproxy");
  t.not(nft.table, null);
  await made.begin();
  t.deepEqual(made.report(), { way: "tproxy", why: "setting proxyRedirect" });

  nft.table = null;
  nft.failure = "busy";
  await clock.advance(2000);
  t.deepEqual(codes(), ["PROXY_REDIRECT"]);
  nft.failure = null;
  await clock.advance(2000);
  t.deepEqual(codes(), []);
  t.not(nft.table, null);
  await made.stop();

  const next = redirection(nft).made;
  t.is(await next.prepare({ redirect: "assign", redirectWhy: "" }), "assign");
  t.not(nft.table, null, "the programs of before still mark");
  await next.begin();
  t.is(nft.table, null);
});

test("where nft or its module is missing the programs are loaded closed, and it is told", async (t) => {
  const nft = new FakeNft();
  nft.failure = "Error: Could not process rule";
  const { made, codes } = redirection(nft);
  t.is(await made.prepare({ redirect: "tproxy", redirectWhy: "bpf_sk_assign is missing" }), "closed");
  t.regex(made.report().why, /Could not process rule/);
  t.deepEqual(codes(), ["PROXY_REDIRECT"]);
  await made.begin();
  t.deepEqual(codes(), ["PROXY_REDIRECT"], "it stands");
});
