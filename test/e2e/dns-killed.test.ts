/** The proxy and the agent are killed while pods ask for names: what is closed meanwhile, how soon it goes on, and that no answer opens less than it says. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { FqdnCacheDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { proxyActive } from "../../src/lab/proxies.ts";
import { pod, settled, withLab } from "../support/lab.ts";
import { digFrom, type NameRecord, openNames, outsideNames } from "../support/names.ts";
import { longTest } from "../support/long.ts";

const policy = openNames(["world"], [{ matchName: "ready.test" }, { matchPattern: "*.open.test" }]);

const count = 6_000;
const addressOf = (number: number) => `203.0.${100 + (number >> 8)}.${number & 255}`;
/** ms in which a proxy that is back answers, on a machine that others use, too. */
const soonMs = 5_000;

/** As test/support/dns-steady.js tells it. */
interface Asked {
  readonly name: string;
  readonly at: number;
  readonly answeredAt: number | null;
  readonly code: number | null;
  readonly address: string | null;
}

/** Addresses that the cache has and the kernel has, too. */
async function openAddresses(lab: Lab): Promise<ReadonlySet<string>> {
  const [cache, kernel] = await Promise.all(
    [
      ["fqdn", "cache", "list", "--json"],
      ["bpf", "policy", "list", "--json"],
    ].map(async (words) => (await lab.agent("node-1", words)).stdout),
  );
  const written = new Set([...(kernel ?? "").matchAll(/"([\d.]+)\/32"/g)].map(([, address]) => address));
  const rows = JSON.parse(cache ?? "") as readonly FqdnCacheDto[];
  const cached = rows.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  return new Set(cached.filter((address) => written.has(address)));
}

longTest(
  "under questions a killed proxy lets none pass until it is back, a killed agent holds none up, and whatever is answered is open when the next one is there",
  (t) =>
    withLab(
      t,
      {
        nodes: 1,
        proxies: true,
        objects: [pod("client", { node: "node-1" }), policy],
        agent: { dnsMode: "proxy", dnsMinTtl: 600 },
      },
      async (lab) => {
        const { dns, publish, asked: serverAsked } = await outsideNames(t, lab);
        const names = Array.from({ length: count }, (_, number): [string, NameRecord] => [
          `n${number}.open.test`,
          { A: [addressOf(number)], ttl: 300 },
        ]);
        await publish({ ...Object.fromEntries(names), "ready.test": { A: ["203.0.113.1"] } });
        await settled(lab);
        const dig = (name: string) => digFrom(lab, "default/client", dns, name);
        await lab.until("the proxy has the rules", async () => (await dig("ready.test")).code === "NOERROR");

        const folder = await mkdtemp(join(tmpdir(), "tandem-steady-"));
        const file = join(folder, "questions");
        const script = new URL("../support/dns-steady.js", import.meta.url).pathname;
        const load = lab.exec("default/client", [process.execPath, script, dns, file, "40"], { timeoutMs: 240_000 });
        t.teardown(async () => {
          await writeFile(`${file}.end`, "");
          await load;
          await rm(folder, { recursive: true, force: true });
        });
        await lab.until("questions begin", async () => existsSync(`${file}.begun`));

        await sleep(2_000);
        await lab.stopProxy("node-1", "SIGKILL");
        const proxyGone = Date.now();
        await sleep(2_000);
        const proxyStarts = Date.now();
        await lab.startProxy("node-1");
        const proxyBack = Date.now();
        await sleep(3_000);

        const agentKilled = Date.now();
        await lab.stopAgent("node-1", "SIGKILL");
        const agentGone = Date.now();
        await sleep(2_000);
        const agentStarts = Date.now();
        await lab.startAgent("node-1");
        await lab.until("the proxy is back at the agent", () => proxyActive(lab.node("node-1")));
        const agentBack = Date.now();
        await sleep(3_000);

        await writeFile(`${file}.end`, "");
        const { stdout, stderr } = await load;
        t.not(stdout, "", stderr);
        const { asked, stray } = JSON.parse(stdout) as { readonly asked: readonly Asked[]; readonly stray: number };
        t.is(stray, 0);
        t.true(asked.length < count, "names for all questions");
        const between = (from: number, to: number) => asked.filter(({ at }) => at >= from && at < to);
        const answers = asked.filter(({ name, code }) => name.endsWith(".test") && code !== null);
        for (const { name, code, address } of answers)
          t.deepEqual(
            [code, address],
            [0, addressOf(Number(/\d+/.exec(name)?.[0]))],
            `the answer to ${name} is its own`,
          );

        const denied = asked.filter(({ name }) => name.endsWith(".example"));
        t.true(denied.some(({ code }) => code === 5));
        t.deepEqual(
          denied.filter(({ code }) => code !== 5 && code !== null),
          [],
        );
        const reached = await serverAsked();
        t.deepEqual(
          reached.filter(({ name }) => name.endsWith(".example")),
          [],
          "no server hears of what is denied",
        );

        t.true(between(proxyGone, proxyStarts).length > 10);
        t.deepEqual(
          between(proxyGone, proxyStarts).filter(({ code }) => code !== null),
          [],
          "nobody judges: no answer",
        );
        const unjudged = new Set(between(proxyGone, proxyStarts).map(({ name }) => name));
        t.deepEqual(
          reached.filter(({ name }) => unjudged.has(name)),
          [],
          "and no question passes",
        );

        const first = asked.find(({ at, answeredAt }) => at >= proxyStarts && answeredAt !== null);
        t.true(first?.answeredAt != null && first.answeredAt < proxyBack + soonMs);
        t.deepEqual(
          between(proxyBack + soonMs, Infinity).filter(({ code }) => code === null),
          [],
          "from then on all are",
        );
        const away = between(agentGone, agentStarts);
        t.true(away.length > 10);
        t.deepEqual(
          away.filter(({ code }) => code === null),
          [],
          "without an agent, too",
        );

        const open = await openAddresses(lab);
        t.true(answers.filter(({ answeredAt }) => (answeredAt ?? 0) < agentKilled).length > 100);
        t.true(answers.filter(({ at }) => at >= agentGone && at < agentStarts).length > 10);
        t.deepEqual(
          answers.filter(({ address }) => !open.has(address ?? "")),
          [],
          "whatever was answered, before the agent is killed, without one, and while it starts",
        );
        t.log({
          asked: asked.length,
          answered: answers.length,
          open: open.size,
          firstAnswerAfterProxyIsBackMs: (first?.answeredAt ?? 0) - proxyBack,
          proxyAwayMs: proxyBack - proxyGone,
          agentAwayMs: agentBack - agentGone,
        });
      },
    ),
);
