/** A flood of connections that never come to anything: those that run go on, and what was refused is counted. */
import test from "ava";
import { Protocol, tcp } from "../../support/packets.ts";
import { podFrame, who, wireFrame } from "../../support/programs-frames.ts";
import { ProgramNode } from "../../support/programs.ts";
import { putService } from "../../support/programs-maps.ts";
import { reasonNumber } from "../../support/programs-test.ts";

const vip = { here: "203.0.113.10", elsewhere: "203.0.113.11" } as const;
const size = 2048;
const running = 20;
const flood = 10 * size;

test("a SYN flood: connections to pods here and on other nodes live on", async (t) => {
  t.timeout(300_000);
  const node = await ProgramNode.create({}, { ct4: size, nat4: size }, { events: false });
  try {
    for (const [id, address, backend] of [
      [5, vip.here, who.a.ipv4],
      [6, vip.elsewhere, who.r.ipv4],
    ] as const) {
      const backends = [{ address: backend, port: 8080 }];
      putService(node.maps, { id, address, port: 80, protocol: Protocol.tcp, backends, outside: true });
    }
    const asks = (from: string, to: string, port: number, letters: string) =>
      node.run("from_network", wireFrame(from, to, tcp(port, 80, letters)));
    const given: number[] = [];
    /** One packet of every connection in both directions, all of them understood. */
    const goesOn = async (letters: readonly [string, string]): Promise<boolean> => {
      for (let i = 0; i < running; i++) {
        const port = 50_000 + i;
        const here = await asks(who.w.ipv4, vip.here, port, letters[0]);
        const back = await node.fromPod("a", podFrame("a", who.a.ipv4, who.w.ipv4, tcp(8080, port, letters[1])));
        const there = await asks(who.w.ipv4, vip.elsewhere, port, letters[0]);
        given[i] ??= there.parsed.ip?.sourcePort ?? 0;
        const answer = wireFrame(who.r.ipv4, who.host.ipv4, tcp(8080, given[i] ?? 0, letters[1]));
        const returned = await node.run("from_network", answer);
        const fine =
          here.parsed.ip?.destination === who.a.ipv4 &&
          back.parsed.ip?.source === vip.here &&
          there.parsed.ip?.sourcePort === given[i] &&
          returned.parsed.ip?.source === vip.elsewhere &&
          returned.parsed.ip?.destination === who.w.ipv4;
        if (!fine) return false;
      }
      return true;
    };
    t.true(await goesOn(["S", "SA"]));
    t.true(await goesOn(["A", "A"]));
    node.takeMetrics();
    for (let i = 0; i < flood; i++) {
      const source = `198.18.${(i >> 8) & 255}.${i & 255}`;
      await asks(source, i % 2 === 0 ? vip.here : vip.elsewhere, 1024 + (i % 60_000), "S");
      if (i % 200 === 0 && !(await goesOn(["A", "A"]))) return t.fail(`after ${i} of ${flood}`);
    }
    t.true(await goesOn(["PA", "PA"]));
    const refused = node.takeMetrics().get(`${reasonNumber("natFull")}/ingress`)?.packets ?? 0;
    t.is(refused, flood / 2 - (size / 2 - running), "each that found no room is counted, and no other");
  } finally {
    await node.remove();
  }
});
