/** The DNS proxy over UDP with real datagrams: who may ask what, and which answers reach the client. */
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import type { DnsLookup } from "../../../src/native/dns-contract.ts";
import { decodeResponse, encodeQuery, recordTypes, responseCodes } from "../../../src/dns/message.ts";
import { client4, client6, DnsWorld, server4, server6, Talker, usual } from "../../support/dns-proxy.ts";

test("an allowed name is asked for from the client's own address and port; others are refused, and the server never hears of them", async (t) => {
  const world = await DnsWorld.make(t);
  const allowed = await world.dig("-b", `${client4}#40053`, `@${server4}`, "www.allowed.test", "A");
  t.deepEqual([allowed.code, allowed.addresses], ["NOERROR", [client4]], "the server answers with who asked");
  const denied = await world.dig(`@${server4}`, "www.denied.test", "A");
  t.deepEqual([denied.code, denied.addresses], ["REFUSED", []]);
  const { record } = await world.proxy.hear(
    "a denial",
    ({ record }) => (record as { verdict?: string } | undefined)?.verdict === "denied",
  );
  t.like(record as object, { ingress: false, server: server4, dns: { name: "www.denied.test", type: 1, code: 5 } });
  t.like(await world.counts(), { forwarded: 1, denied: 1, stray: 0, told: 0 });
});

test("IPv6 is as IPv4, and NXDOMAIN may be what is said", async (t) => {
  const world = await DnsWorld.make(t, { host: "::", noName: true });
  const allowed = await world.dig(`@${server6}`, "www.allowed.test", "AAAA");
  t.deepEqual([allowed.code, allowed.addresses], ["NOERROR", [client6]]);
  t.is((await world.dig(`@${server6}`, "allowed.test", "AAAA")).code, "NXDOMAIN");
});

test("what an answer opens is told first, and the answer goes when it is written; the next one waits for nobody", async (t) => {
  const world = await DnsWorld.make(t);
  await world.proxy.ask({ connected: true });
  let isAnswered = false;
  const answer = world.dig(`@${server4}`, "api.open.allowed.test", "A").finally(() => {
    isAnswered = true;
  });
  const lookup = await world.lookup("api.open.allowed.test.");
  t.like(lookup, { endpoint: 7, policySet: 3, ttl: 60, addresses: [client4] });
  // Another question there and back, which came later.
  t.is((await world.dig(`@${server4}`, "www.allowed.test", "A")).code, "NOERROR");
  t.false(isAnswered);
  await world.proxy.ask({ written: [lookup.ticket] });
  t.deepEqual((await answer).addresses, [client4]);
  t.deepEqual((await world.dig(`@${server4}`, "API.open.allowed.test", "A")).addresses, [client4], "whichever case");
  // A second later it is told anew, as it holds for longer then; nobody waits for that either.
  const { overdue, told, remembered } = await world.counts();
  t.deepEqual([overdue, told + remembered], [0, 2]);

  // What was told anew waits no more: the next one would join it.
  await world.proxy.ask({ written: [lookup.ticket + 1] });
  const from = world.proxy.said.length;
  await world.proxy.ask({ forget: "api.open.allowed.test." });
  const again = world.dig(`@${server4}`, "api.open.allowed.test", "A");
  const second = await world.lookup("api.open.allowed.test.", from);
  t.not(second.ticket, lookup.ticket);
  await world.proxy.ask({ connected: false });
  t.deepEqual((await again).addresses, [client4], "nobody writes any more: nobody waits");
});

test("an answer that nobody writes goes after its time, and is counted", async (t) => {
  const world = await DnsWorld.make(t, { mostDelay: 50 });
  await world.proxy.ask({ connected: true });
  t.deepEqual((await world.dig(`@${server4}`, "api.open.allowed.test", "A")).addresses, [client4]);
  t.like(await world.counts(), { overdue: 1, told: 1 });
});

test("answers with another number or question, and what is none, never reach the client; the real one does", async (t) => {
  const world = await DnsWorld.make(t);
  const { addresses } = await world.dig(`@${server4}`, "poisoned.allowed.test", "A");
  t.deepEqual(addresses, [client4]);
  t.like(await world.counts(), { stray: 4 });
});

test("a cut answer is passed on as it is, with EDNS and without", async (t) => {
  const world = await DnsWorld.make(t);
  for (const edns of ["+noedns", "+bufsize=1232"]) {
    const { text } = await world.dig(`@${server4}`, "cut.allowed.test", "A", "+ignore", edns);
    t.regex(text, /flags: qr [^;]*\btc\b/, edns);
  }
});

test("hundreds of questions from one port are each answered once, and a client that asks again is heard", async (t) => {
  const world = await DnsWorld.make(t);
  const client = new Talker(t, world.client, ["client", client4]);
  await client.hear("port", ({ port }) => port !== undefined);
  const ask = (id: number, name: string) =>
    client.tell({ to: [53, server4], hex: encodeQuery(id, { name, type: recordTypes.A }, false).toString("hex") });
  const answered = () =>
    client.said.flatMap(({ hex }) => (typeof hex === "string" ? [decodeResponse(Buffer.from(hex, "hex"))] : []));
  // A few at a time: a machine under load would lose datagrams of more, here as anywhere.
  for (let first = 0; first < 500; first += 50) {
    for (let id = first; id < first + 50; id++) ask(id, `n${id}.${id < 400 ? "allowed" : "denied"}.test`);
    await client.heard(first + 50, ({ hex }) => hex !== undefined);
  }
  const ids = answered()
    .map(({ id }) => id)
    .sort((a, b) => a - b);
  t.deepEqual(
    ids,
    Array.from({ length: 500 }, (_, id) => id),
  );
  for (const { id, code, question } of answered()) {
    t.is(question.name, `n${id}.${id < 400 ? "allowed" : "denied"}.test`);
    t.is(code, id < 400 ? responseCodes.ok : responseCodes.refused);
  }
  ask(600, "second.allowed.test");
  ask(600, "second.allowed.test");
  const isOf =
    (id: number) =>
    ({ hex }: Record<string, unknown>) =>
      typeof hex === "string" && Number.parseInt(hex.slice(0, 4), 16) === id;
  await client.hear("an answer to the second", isOf(600));
  ask(601, "n1.allowed.test");
  await client.hear("an answer behind it", isOf(601));
  t.is(answered().filter(({ id }) => id === 600).length, 1, "the server answered twice");
  t.like(await world.counts(), { stray: 1, overloaded: 0 });
});

test("what is no question is answered with what is wrong, answers from a client with nothing; beyond the limit it is SERVFAIL", async (t) => {
  const world = await DnsWorld.make(t, { mostQuestions: 2 });
  const client = new Talker(t, world.client, ["client", client4]);
  await client.hear("port", ({ port }) => port !== undefined);
  const good = encodeQuery(1, { name: "silent.allowed.test", type: recordTypes.A }, false);
  const send = (bytes: Buffer) => client.tell({ to: [53, server4], hex: bytes.toString("hex") });
  const changed = (id: number, change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(good);
    bytes.writeUInt16BE(id, 0);
    change(bytes);
    return bytes;
  };
  send(changed(2, (bytes) => bytes.writeUInt16BE(0x8100, 2)));
  send(changed(3, (bytes) => bytes.writeUInt16BE(2, 4)));
  send(changed(4, (bytes) => bytes.writeUInt16BE(0x2900, 2)));
  send(Buffer.concat([changed(5, () => undefined), Buffer.of(0)]));
  send(Buffer.of(0, 6, 1));
  const codeOf = async (id: number) => {
    const found = await client.hear(
      `answer ${id}`,
      ({ hex }) => typeof hex === "string" && Number.parseInt(hex.slice(0, 4), 16) === id,
    );
    return Number.parseInt((found.hex as string).slice(7, 8), 16);
  };
  t.is(await codeOf(3), responseCodes.badFormat);
  t.is(await codeOf(4), responseCodes.notImplemented);
  t.is(await codeOf(5), responseCodes.badFormat);
  for (const id of [10, 11, 12]) send(changed(id, () => undefined));
  t.is(await codeOf(12), responseCodes.serverFailure);
  t.deepEqual(
    client.said
      .flatMap(({ hex }) => (typeof hex === "string" ? [Number.parseInt(hex.slice(0, 4), 16)] : []))
      .sort((a, b) => a - b),
    [3, 4, 5, 12],
  );
  t.like(await world.counts(), { malformed: 5, overloaded: 1, forwarded: 2 });
});

const unknown = { ...usual.demands.egress, stance: "unknown" as const, anyOf: [] };
const denials = ({ record }: Record<string, unknown>) =>
  (record as { readonly reason?: string } | undefined)?.reason === "its rules have not come";

test("questions whose rules have not come wait, and are judged when they come: passed on, or refused", async (t) => {
  const missing = { egress: unknown, ingress: usual.demands.ingress };
  const world = await DnsWorld.make(t, { demands: missing });
  const client = new Talker(t, world.client, ["client", client4]);
  await client.hear("port", ({ port }) => port !== undefined);
  const names = ["www.allowed.test", "www.denied.test", "api.allowed.test"];
  for (let round = 1; ; round++) {
    const before = await world.counts();
    for (const [at, name] of names.entries())
      client.tell({
        to: [53, server4],
        hex: encodeQuery(round * 10 + at, { name, type: recordTypes.A }, false).toString("hex"),
      });
    while ((await world.counts()).waited < before.waited + names.length);
    await world.proxy.ask({ demand: usual.demands });
    await client.heard(round * names.length, ({ hex }) => hex !== undefined);
    const { unruled, denied, forwarded } = await world.counts();
    // On a machine under load a second may be over before the rules are there.
    if (unruled === before.unruled) {
      const codes = client.said.flatMap(({ hex }) => {
        const read = typeof hex === "string" ? decodeResponse(Buffer.from(hex, "hex")) : null;
        return read !== null && read.id >= round * 10 ? [[read.id % 10, read.code]] : [];
      });
      t.deepEqual(codes.sort(), [
        [0, responseCodes.ok],
        [1, responseCodes.refused],
        [2, responseCodes.ok],
      ]);
      t.deepEqual([forwarded - before.forwarded, denied - before.denied], [2, 1]);
      return;
    }
    if (round === 20) return t.fail(`no question waited until its rules came: ${unruled} were refused`);
    await world.proxy.ask({ demand: missing });
  }
});

test("a question whose rules do not come is refused after a second, and one for which there is no room at once", async (t) => {
  const world = await DnsWorld.make(t, { demands: { egress: usual.demands.egress, ingress: unknown } });
  const since = performance.now();
  const { code } = await world.dig(`@${server4}`, "www.allowed.test", "A");
  t.is(code, "REFUSED");
  t.true(performance.now() - since >= 1_000, "it waited");
  t.like((await world.proxy.hear("its refusal", denials)).record as object, { verdict: "refused", ingress: true });
  t.like(await world.counts(), { waited: 1, unruled: 1, forwarded: 0, denied: 0 });

  const client = new Talker(t, world.client, ["client", client4]);
  await client.hear("port", ({ port }) => port !== undefined);
  const most = 128;
  for (let id = 0; id <= most; id++)
    client.tell({
      to: [53, server4],
      hex: encodeQuery(id, { name: "www.allowed.test", type: recordTypes.A }, false).toString("hex"),
    });
  await client.heard(most + 1, ({ hex }) => hex !== undefined);
  const { waited, unruled } = await world.counts();
  t.is(unruled, 2 + most, "each is answered once");
  t.true(waited <= 1 + most, `${waited} waited`);
});

test("a question that nobody answers is forgotten after its time", async (t) => {
  const world = await DnsWorld.make(t, { serverTimeout: 100 });
  void world.dig("+time=1", `@${server4}`, "silent.allowed.test", "A");
  const failed = await world.proxy.hear(
    "the failure",
    ({ record }) => (record as { verdict?: string } | undefined)?.verdict === "failed",
  );
  t.like(failed.record as object, { reason: "no answer in time", ruleSet: usual.demands.egress.anyOf[0]?.id });
  t.like(await world.counts(), { silent: 1 });
});

test("an answer that comes after the server's time opens nothing and reaches nobody", async (t) => {
  const world = await DnsWorld.make(t, { serverTimeout: 200 });
  await world.proxy.ask({ connected: true });
  const dug = await world.dig("+time=3", `@${server4}`, "late.open.allowed.test", "A");
  t.is(dug.code, "none");
  t.like(await world.counts(), { forwarded: 1, silent: 1, stray: 1, told: 0, overdue: 0 });
});

// Before the others, whose datagrams it would crowd out.
test.serial(
  "of addresses that are open the proxy remembers so many and no more, in as much memory; what it forgot it tells again",
  async (t) => {
    const most = 131_072;
    const world = await DnsWorld.make(t);
    await world.proxy.ask({ connected: true });
    const client = new Talker(t, world.client, ["client", client4]);
    await client.hear("port", ({ port }) => port !== undefined);
    const lookupsOf = () =>
      world.proxy.said.flatMap(({ lookups }) => (lookups as readonly DnsLookup[] | undefined) ?? []);
    let asked = 0;
    let written = 0;
    const ask = async (numbers: readonly number[]) => {
      for (const number of numbers) {
        const question = { name: `hundred-${number}.open.allowed.test`, type: recordTypes.A };
        client.tell({ to: [53, server4], hex: encodeQuery(number, question, false).toString("hex") });
      }
      asked += numbers.length;
      for (let waited = 0; lookupsOf().length < asked && waited < 60_000; waited += 5) await sleep(5);
      const told = lookupsOf().slice(written);
      written += told.length;
      t.is(written, asked, "each is told");
      await world.proxy.ask({ written: told.map(({ ticket }) => ticket) });
      await client.heard(asked, ({ hex }) => hex !== undefined);
    };
    const before = await world.proxy.memory();
    const figures: { readonly known: number; readonly memory: number }[] = [];
    for (let first = 0; first < 3_000; first += 20) {
      await ask(Array.from({ length: 20 }, (_, at) => first + at));
      if (first % 200 !== 180) continue;
      const { known } = await world.counts();
      t.true(known > 0 && known <= most, `${known} addresses after ${asked} questions`);
      figures.push({ known, memory: await world.proxy.memory() });
    }
    const fullest = Math.max(...figures.map(({ known }) => known));
    t.true(fullest > 100_000);
    const grown = Math.max(...figures.map(({ memory }) => memory)) - before;
    // Sanitizers keep what is freed.
    if (process.env.LD_PRELOAD === undefined) t.true(grown < 96, `${grown} MiB`);
    t.log(`${asked * 100} addresses: at most ${fullest} remembered, ${grown.toFixed(1)} MiB of the process`);
    await ask([0]);
    t.like(await world.counts(), { told: asked, lost: 0, overdue: 0, remembered: 0 });
  },
);

test("EDNS passes byte for byte both ways: the client's cookie, and an answer of 4,000 bytes in fragments", async (t) => {
  for (const [own, server, host] of [
    [client4, server4, "0.0.0.0"],
    [client6, server6, "::"],
  ] as const) {
    const world = await DnsWorld.make(t, { host });
    const client = new Talker(t, world.client, ["client", own]);
    await client.hear("port", ({ port }) => port !== undefined);
    const question = encodeQuery(7, { name: "large.allowed.test", type: 16 }, false);
    question.writeUInt16BE(1, 10);
    // OPT (RFC 6891): 4,096 bytes, and an option that is a cookie (RFC 7873).
    const opt = Buffer.from("0000291000000080000012000a000e0123456789abcdef0123456789ab", "hex");
    client.tell({ to: [53, server], hex: Buffer.concat([question, opt]).toString("hex") });
    const { hex } = await client.hear("the answer", (said) => said.hex !== undefined);
    const answer = Buffer.from(String(hex), "hex");
    t.is(answer.length, question.length + 15 * (13 + 254) + opt.length, server);
    t.true(answer.length > 4_000);
    t.deepEqual(answer.subarray(-opt.length), opt, "as the server saw it, and as it came back");
    t.is(answer.toString("latin1").split("x".repeat(254)).length - 1, 15, "none of it was lost");
  }
});
