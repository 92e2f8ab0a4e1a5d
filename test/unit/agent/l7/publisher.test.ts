/** How long an endpoint's switch waits for proxies to have the rules of its set. */
import { PassThrough } from "node:stream";
import test, { type ExecutionContext } from "ava";
import { ProxyLinks } from "../../../../src/agent/l7/proxy-links.ts";
import { L7Publisher } from "../../../../src/agent/l7/publisher.ts";
import { type KeptTables, L7Book, noTables } from "../../../../src/agent/l7/tables.ts";
import { parseDemands } from "../../../../src/compute/l7/parse-demands.ts";
import type { DemandsBySet } from "../../../../src/datapath/set-demands.ts";
import { jsonLine } from "../../../../src/lib/json-lines.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import { ManualClock } from "../../../support/manual-clock.ts";

const get = 'http [{"method":"GET"}]';
const demands = (set: number): DemandsBySet => new Map([[set, { egress: [], ingress: [{ group: 1, text: get }] }]]);

/** What an agent before has told. */
function keptOf(set: number): KeptTables {
  const book = new L7Book(parseDemands, noTables);
  book.update(demands(set));
  return book.kept;
}

class Bench {
  readonly clock = new ManualClock();
  readonly links: ProxyLinks;
  readonly publisher: L7Publisher;

  constructor(kept: KeptTables) {
    const { clock } = this;
    this.links = new ProxyLinks({ clock, log: silentLogger, onChange: () => undefined, onRecords: () => undefined });
    this.publisher = new L7Publisher({
      book: new L7Book(parseDemands, kept),
      file: { write: async () => undefined },
      links: this.links,
      clock,
      onChange: () => undefined,
    });
  }

  /** Starts; tells after how many ms it was done, as soon as it is. */
  publish(set: number): () => number | null {
    const begun = this.clock.monotonicMs();
    let took: number | null = null;
    void this.publisher.publish(demands(set), true).then(() => {
      took = this.clock.monotonicMs() - begun;
    });
    return () => took;
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 100) await this.clock.advance(100);
  }

  /** A proxy that has the flows comes, and has what it is told at once. */
  join(t: ExecutionContext): void {
    const socket = new PassThrough();
    t.teardown(() => socket.destroy());
    const say = (message: object) => socket.emit("data", Buffer.from(jsonLine(message)));
    const write = socket.write.bind(socket);
    socket.write = ((line: string) => {
      const told = JSON.parse(line) as { readonly type: string; readonly generation: number };
      if (told.type === "config") setImmediate(say, { type: "applied", generation: told.generation, refused: [] });
      return true;
    }) as typeof write;
    this.links.accept(socket, new Uint8Array());
    say({ type: "hello", version: "0", pid: 7, started: 1, state: "active" });
  }
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

test("the first switch of an agent waits for the proxy that ran on without it, later ones a tenth of a second", async (t) => {
  const bench = new Bench(keptOf(4));
  const first = bench.publish(5);
  await bench.pass(500);
  t.is(first(), null);
  bench.join(t);
  await settle();
  t.is(first(), 500, "it has the rules: the switch goes on");
  t.is(bench.links.instances[0]?.generation, bench.publisher.generation);

  const alone = new Bench(keptOf(4));
  const late = alone.publish(5);
  await alone.pass(1_400);
  t.is(late(), null);
  await alone.pass(100);
  t.is(late(), 1_500, "no proxy holds policies up");
  const next = alone.publish(6);
  await settle();
  t.is(next(), 0, "nobody is there");
});

test("where no agent before has told anything, or nothing changes, nobody is waited for", async (t) => {
  for (const [kept, set] of [
    [noTables, 5],
    [keptOf(4), 4],
  ] as const) {
    const bench = new Bench(kept);
    const known = bench.publisher.known(4);
    const took =
      set === 4 && known !== null
        ? await bench.publisher.publish(new Map([[4, known]]), true).then(() => 0)
        : await settle().then(() => bench.publish(set));
    await settle();
    t.is(typeof took === "number" ? took : took(), 0);
  }
});
