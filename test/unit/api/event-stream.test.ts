import { PassThrough, Writable } from "node:stream";
import test from "ava";
import type { EventDto } from "../../../src/api/dto.ts";
import { matches, parseFilter, streamEvents } from "../../../src/api/event-stream.ts";
import { drop } from "../../support/fake-agent.ts";

function feed() {
  const listeners = new Set<(events: readonly EventDto[]) => void>();
  return {
    publish: (events: readonly EventDto[]) => {
      for (const listener of listeners) listener(events);
    },
    listeners,
    subscribe: (listener: (events: readonly EventDto[]) => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

const all = parseFilter(new URLSearchParams());

test("events of types and peers that nobody asked for are left out", (t) => {
  const wanted = (query: string) => matches(parseFilter(new URLSearchParams(query)), drop);
  t.true(wanted(""));
  t.true(wanted("type=drop,verdict"));
  t.false(wanted("type=verdict"));
  t.true(wanted("from=shop/web-0&to=shop"));
  t.true(wanted("from=10.1.0.2"));
  t.false(wanted("from=shop/web"));
  t.false(wanted("to=sho"));
});

test("a reader that is too slow loses events and is told how many, and nothing piles up", async (t) => {
  const source = feed();
  const output = new PassThrough({ highWaterMark: 256 });
  streamEvents(source, all, output);
  for (let i = 0; i < 1000; i++) source.publish([drop]);
  t.true(output.writableLength + output.readableLength < 10_000);

  let text = "";
  output.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string; count?: number });
  const lost = lines.find(({ type }) => type === "lost")?.count ?? 0;
  t.is(lines.filter(({ type }) => type === "drop").length + lost, 1000);
  t.true(lost > 0);
});

test("a reader that goes away is forgotten", async (t) => {
  const source = feed();
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  streamEvents(source, all, output);
  t.is(source.listeners.size, 1);
  output.destroy();
  await new Promise((resolve) => output.once("close", resolve));
  t.is(source.listeners.size, 0);
});
