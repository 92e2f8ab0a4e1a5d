/** One node of programs for a test file: made before its first test, as new before each one, removed whatever happens. */
import test, { type ExecutionContext } from "ava";
import { type Family, families } from "./programs-frames.ts";
import { ProgramNode, type Receive, type RunResult } from "./programs.ts";
import { wrongChecksums } from "./packets-parse.ts";
import { type ReasonName, reasons } from "../../src/model/reasons.gen.ts";

export function reasonNumber(name: ReasonName): number {
  return reasons.find((reason) => reason.name === name)?.number ?? Number.NaN;
}

export interface ProgramTests {
  /** Once per file's node, one test after the other. */
  readonly check: (title: string, body: (t: ExecutionContext, node: ProgramNode) => Promise<void>) => void;
  /** For IPv4 and for IPv6. */
  readonly both: (
    title: string,
    body: (t: ExecutionContext, node: ProgramNode, family: Family) => Promise<void>,
  ) => void;
}

export function programTests(
  settings: Readonly<Record<string, number>> = {},
  sizes: Readonly<Record<string, number>> = {},
  /** Every test once for each. */
  receives: readonly Receive[] = ["tc"],
): ProgramTests {
  let node: ProgramNode | null = null;
  test.before(async (t) => {
    t.timeout(180_000);
    node = await ProgramNode.create(settings, sizes);
    if (receives.includes("xdp")) await node.attachWire();
  });
  test.after.always(async () => {
    await node?.remove();
  });
  const check: ProgramTests["check"] = (title, body) => {
    for (const receive of receives) {
      test.serial(receive === "tc" ? title : `${title}, over XDP`, async (t) => {
        t.timeout(180_000);
        if (node === null) throw new Error("the node was not made");
        await node.reset();
        node.takeMetrics();
        node.receive = receive;
        await body(t, node);
      });
    }
  };
  return {
    check,
    both: (title, body) => {
      for (const family of families) check(`${title} (${family})`, (t, current) => body(t, current, family));
    },
  };
}

/** The packet was dropped, counted once for this reason and direction, and reported once. */
export async function isDropped(
  t: ExecutionContext,
  node: ProgramNode,
  result: RunResult,
  reason: ReasonName,
  direction: "egress" | "ingress",
): Promise<void> {
  t.is(result.verdict, "drop", `should be dropped for ${reason}`);
  const counted = [...node.takeMetrics()].map(([key, { packets }]) => `${key}: ${packets}`);
  t.deepEqual(counted, [`${reasonNumber(reason)}/${direction}: 1`], `counted for ${reason}`);
  const events = await node.takeEvents();
  t.deepEqual(
    events.map((e) => [e.type, e.reason, e.direction]),
    [[1, reasonNumber(reason), direction === "egress" ? 0 : 1]],
    `reported for ${reason}`,
  );
}

/** The packet passed in this way, was counted as forwarded, and its checksums are right. */
export function isPassed(
  t: ExecutionContext,
  node: ProgramNode,
  result: RunResult,
  how: "stack" | "redirect",
  direction: "egress" | "ingress",
): void {
  t.is(result.verdict, how);
  t.deepEqual(wrongChecksums(result.frame), []);
  const counted = [...node.takeMetrics()].map(([key, { packets }]) => `${key}: ${packets}`);
  t.deepEqual(counted, [`0/${direction}: 1`]);
}
