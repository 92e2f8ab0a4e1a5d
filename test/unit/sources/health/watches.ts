/** The addon's watches as `addon/src/probe/watches.cc` has them, by the test's clock and network; without jitter and bursts. */
import type { Timer } from "../../../../src/lib/clock.ts";
import type { ManualClock } from "../../../support/manual-clock.ts";
import { type Asked, numbers, type Reaction, textOf } from "./support.ts";

interface World {
  readonly ask: (one: Asked) => Reaction;
  readonly tell: (one: Asked, reaction: NonNullable<Reaction>, large: boolean) => void;
}

interface State {
  readonly one: Omit<Asked, "size">;
  readonly event: number;
  readonly from: string;
  readonly largeBytes: number;
  intervalMs: number;
  largeMs: number;
  largeDueMs: number;
  timer: Timer | null;
  sent: number;
  answeredMs: number | null;
  times: number;
}

export class FakeWatches {
  readonly #clock: ManualClock;
  readonly #world: World;
  readonly #states = new Map<number, State>();

  constructor(clock: ManualClock, world: World) {
    this.#clock = clock;
    this.#world = world;
  }

  put(packed: Buffer): void {
    for (let at = 0; at < packed.length; at += 60) {
      const one = packed.subarray(at, at + 60);
      const id = one.readUInt32LE(0);
      const bytesAt = (from: number) => textOf(one.subarray(from, from + (one[5] === 1 ? 16 : 4)));
      const pace = { intervalMs: one.readUInt32LE(16), largeMs: one.readUInt32LE(20) };
      const known = this.#states.get(id);
      if (known !== undefined) {
        Object.assign(known, pace);
        continue;
      }
      const kind = one[4] === 1 ? ("tcp" as const) : ("icmp" as const);
      const state: State = {
        ...pace,
        one: { kind, sequence: 0, watch: id, address: bytesAt(28), ifindex: one.readUInt32LE(12) },
        event: one[6] ?? -1,
        from: bytesAt(44),
        largeBytes: one.readUInt16LE(10),
        largeDueMs: this.#clock.monotonicMs() + one.readUInt32LE(24),
        timer: null,
        sent: 0,
        answeredMs: null,
        times: 0,
      };
      this.#states.set(id, state);
      this.#wait(state);
    }
  }

  /** That have not been taken away. */
  get size(): number {
    return this.#states.size;
  }

  clear(): void {
    for (const { timer } of this.#states.values()) timer?.cancel();
    this.#states.clear();
  }

  remove(packed: Buffer): Buffer {
    const ids = Array.from({ length: packed.length / 4 }, (_, i) => packed.readUInt32LE(4 * i));
    const counts = Buffer.concat(ids.map((id) => this.#countOf(id)));
    for (const id of ids) {
      this.#states.get(id)?.timer?.cancel();
      this.#states.delete(id);
    }
    return counts;
  }

  count(): Buffer {
    return Buffer.concat([...this.#states.keys()].map((id) => this.#countOf(id)));
  }

  #countOf(id: number): Buffer {
    const state = this.#states.get(id);
    if (state === undefined) return Buffer.alloc(0);
    const ago = state.answeredMs === null ? 0xffff_ffff : this.#clock.monotonicMs() - state.answeredMs;
    const packed = Buffer.alloc(16 + 4 * state.times, 0);
    for (const [at, value] of [id, state.sent, ago, state.times].entries()) packed.writeUInt32LE(value, 4 * at);
    for (let at = 0; at < state.times; at++) packed.writeUInt32LE(250, 16 + 4 * at);
    Object.assign(state, { sent: 0, answeredMs: null, times: 0 });
    return packed;
  }

  #wait(state: State): void {
    state.timer = this.#clock.setTimer(state.intervalMs, () => this.#ask(state));
  }

  #ask(state: State): void {
    const now = this.#clock.monotonicMs();
    const large = state.largeMs > 0 && now >= state.largeDueMs;
    if (large) state.largeDueMs = now + state.largeMs;
    const one: Asked = { ...state.one, size: large ? state.largeBytes : 0 };
    state.sent++;
    const reaction = this.#world.ask(one);
    if (reaction === null) {
      state.timer = this.#clock.setTimer(600, () => this.#world.tell(one, { event: "silent" }, large));
    } else if (numbers[reaction.event] === state.event && (reaction.from ?? one.address) === state.from) {
      state.answeredMs = now;
      if (!large) state.times++;
      this.#wait(state);
    } else this.#world.tell(one, reaction, large);
  }
}
