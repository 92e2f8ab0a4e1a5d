/** Rules about DNS as pods meet them: what they ask goes through tandem-proxy, and what they are answered is what toFQDNs opens. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { EventDto, FqdnCacheDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, fetchFrom, monitored, pod, podAddress, settled, visibility, withLab } from "../support/lab.ts";
import { cachedAddresses, digFrom, type NameRecord, openNames, outsideNames } from "../support/names.ts";

const client = pod("client", { node: "node-1", labels: { app: "client" } });
/** With the same rules. */
const twin = pod("twin", { node: "node-1", labels: { app: "client" } });
const victim = pod("victim", { node: "node-1", ports: [80] });
/** No rule is about it. */
const seen = pod("seen", { node: "node-1", annotations: visibility("<Egress/53/ANY/DNS>") });

/** The client may ask for names of test, and reach those below open.test. */
const policy = openNames(["world", "host"], [{ matchPattern: "*.test" }, { matchPattern: "*.open.test" }]);

type Told = NonNullable<NonNullable<EventDto["l7"]>["dns"]>;

const agent = { dnsMode: "proxy" as const, dnsMinTtl: 600 };

const dig = (lab: Lab, server: string, ...words: readonly string[]) => digFrom(lab, "default/client", server, ...words);

test("a pod asks for the names that its policy allows, over UDP and TCP, and reaches what they gave as soon as it knows it", (t) =>
  withLab(t, { nodes: 1, objects: [client, twin, victim, seen, policy], agent, proxies: true }, async (lab) => {
    const { ipv4, dns, serveOnNode, publish } = await outsideNames(t, lab);
    const [first = "", second = "", third = "", fourth = ""] = ipv4;
    const inside = await podAddress(lab, "default/victim");
    await publish({
      "a.open.test": { A: [first], ttl: 300 },
      "b.open.test": { CNAME: "edge.elsewhere" },
      "edge.elsewhere": { A: [second], ttl: 300 },
      "closed.test": { A: [third] },
      "last.open.test": { A: [fourth], ttl: 300 },
      "many.open.test": { A: Array.from({ length: 100 }, (_, at) => `203.0.113.${at + 1}`) },
      "rebound.open.test": { A: [inside] },
      "else.example": { A: [third] },
    });
    await settled(lab);
    await lab.until("the proxy has the rules", async () => (await dig(lab, dns, "closed.test")).code === "NOERROR");

    t.deepEqual(await dig(lab, dns, "else.example"), { code: "REFUSED", addresses: [] });
    t.deepEqual(await dig(lab, dns, "+tcp", "else.example"), { code: "REFUSED", addresses: [] });
    const reaches = async (address: string, seconds: number, from = "default/client") =>
      (await fetchFrom(lab, from, address, 80, seconds)) !== null;
    t.false(await reaches(first, 2), "nobody has asked yet");
    t.deepEqual(await dig(lab, dns, "a.open.test"), { code: "NOERROR", addresses: [first] });
    t.true(await reaches(first, 20), "the answer came when it was open");
    t.false(await reaches(first, 2, "default/twin"), "what one pod was given is not open to another one");
    t.deepEqual(await digFrom(lab, "default/twin", dns, "a.open.test"), { code: "NOERROR", addresses: [first] });
    t.true(await reaches(first, 20, "default/twin"), "its own answer comes when it is open to it");
    const trace = async (from: string, to: string) => {
      const words = ["policy", "trace", "--from", from, "--to", to, "--port", "80", "--json"];
      return (JSON.parse((await lab.agent("node-1", words)).stdout) as { readonly verdict: string }).verdict;
    };
    t.is(await trace("default/client", first), "allow");
    t.deepEqual(await dig(lab, dns, "+tcp", "b.open.test"), { code: "NOERROR", addresses: [second] });
    t.true(await reaches(second, 20), "over TCP, by an alias");
    t.deepEqual((await dig(lab, dns, "closed.test")).addresses, [third]);
    t.false(await reaches(third, 2), "it may be asked for, and that is all");

    // A cache on the pod's own node, as NodeLocal DNS is one.
    for (const own of [lab.node("node-1").ipv4, lab.node("node-1").ipv6]) {
      await serveOnNode(own);
      for (const words of [["+notcp"], ["+tcp"]]) {
        t.deepEqual(await dig(lab, own, ...words, "closed.test"), { code: "NOERROR", addresses: [third] }, own);
        t.is((await dig(lab, own, ...words, "else.example")).code, "REFUSED", own);
      }
    }

    t.is((await dig(lab, dns, "many.open.test")).addresses.length, 100, "cut over UDP, whole over TCP");
    t.is((await cachedAddresses(lab, "many.open.test")).length, 100);
    t.deepEqual((await dig(lab, dns, "rebound.open.test")).addresses, [inside]);
    t.false(await reaches(inside, 2), "a name never opens a pod");

    const shown = async (words: readonly string[], code: string, isMeant: (dns: Told) => boolean) => {
      const isTold = ({ l7 }: EventDto) => l7?.dns !== undefined && isMeant(l7.dns);
      const ask = async () => {
        t.is((await digFrom(lab, "default/seen", dns, ...words)).code, code, "an annotation refuses nothing");
      };
      const event = (await monitored<EventDto>(lab, "node-1", ask, (events) => events.some(isTold))).find(isTold);
      t.like(event, { verdict: "allowed", source: { name: "default/seen" }, l7: { protocol: "dns" } });
      return event?.l7?.dns;
    };
    t.like(await shown(["else.example"], "NOERROR", ({ name }) => name === "else.example"), {
      type: 1,
      code: 0,
      addresses: [third],
    });
    t.like(await shown(["+tcp", "none.example"], "NXDOMAIN", ({ name }) => name === "none.example"), { code: 3 });

    const file = join(lab.node("node-1").stateDir, "names.json");
    await lab.until("what was learned is on disk", async () =>
      (await readFile(file, "utf8")).includes("many.open.test"),
    );
    const written = await readFile(file);
    t.deepEqual((await dig(lab, dns, "last.open.test")).addresses, [fourth]);
    await lab.stopAgent("node-1", "SIGKILL");
    // As if it had been killed before the next time that it writes.
    await writeFile(file, written);
    t.is((await dig(lab, dns, "a.open.test")).code, "NOERROR", "without an agent");
    t.is((await dig(lab, dns, "else.example")).code, "REFUSED");
    t.true(await reaches(first, 20));
    const flow = await beginFlow(lab, "default/client", { kind: "tcp", address: fourth, port: 80 });
    await lab.startAgent("node-1");
    t.deepEqual(await cachedAddresses(lab, "a.open.test"), [first]);
    t.deepEqual(await cachedAddresses(lab, "last.open.test"), [fourth], "the proxy tells it again");
    t.true(await reaches(fourth, 20));
    t.is(await trace("default/client", fourth), "allow");
    const { sent, answered } = await flow.end();
    t.is(answered, sent, "a connection goes on");
    t.true(await reaches(first, 20, "default/twin"));
    t.false(await reaches(second, 2, "default/twin"), "also after a restart");
    t.is(await trace("default/client", second), "allow");
    t.is(await trace("default/twin", second), "deny");
  }));

test("a new proxy takes over under a load of questions: none is lost, and every address that was told is open", (t) =>
  withLab(t, { nodes: 1, objects: [client, policy], agent, proxies: true }, async (lab) => {
    const { dns, publish } = await outsideNames(t, lab);
    const count = 1_200;
    const addressOf = (number: number) => `203.0.${100 + (number >> 8)}.${number & 255}`;
    const names = Array.from({ length: count }, (_, number): [string, NameRecord] => {
      // Some take longer than the old proxy takes flows (1 s), so that they are asked of the one and answered to the other.
      const delay = number % 3 === 0 ? 1_500 : number % 3 === 1 ? 100 : 0;
      return [`n${number}.open.test`, { A: [addressOf(number)], ttl: 300, delay }];
    });
    await publish({ ...Object.fromEntries(names), "closed.test": { A: ["203.0.113.1"] } });
    await settled(lab);
    await lab.until("the proxy has the rules", async () => (await dig(lab, dns, "closed.test")).code === "NOERROR");

    // One port for all, whose answers the kernel gives to the newest socket; and dig, which has another port for each question.
    const script = new URL("../support/dns-load.js", import.meta.url).pathname;
    const load = lab.exec("default/client", [process.execPath, script, dns, String(count), "5"], { timeoutMs: 60_000 });
    let isOver = false;
    void load.finally(() => {
      isOver = true;
    });
    const dug = (async () => {
      const lost: string[] = [];
      for (let asked = 0; !isOver; asked++) {
        const number = asked % count;
        const { code, addresses } = await dig(lab, dns, "+notcp", `n${number}.open.test`);
        if (code !== "NOERROR" || addresses[0] !== addressOf(number)) lost.push(`n${number}: ${code} ${addresses}`);
      }
      return lost;
    })();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    await lab.replaceProxy("node-1");
    const { stdout, stderr } = await load;
    t.deepEqual(JSON.parse(stdout), { lost: [], codes: { 0: count } }, stderr);
    t.deepEqual(await dug, []);
    const { stdout: cache } = await lab.agent("node-1", ["fqdn", "cache", "list", "--json"]);
    const open = new Map(
      (JSON.parse(cache) as readonly FqdnCacheDto[]).map(({ name, addresses }) => [name, addresses[0]?.address]),
    );
    t.deepEqual(
      names.filter(([name, { A }]) => open.get(name) !== A?.[0]).map(([name]) => name),
      [],
    );
  }));
