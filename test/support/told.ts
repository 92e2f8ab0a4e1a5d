/**
 * How soon the status of a node explains what goes wrong. It is counted from before the fault to the moment at which the agent itself recorded it
 * (`since` of a problem), so that neither the test's own polling nor the start of a command is in it; what has no such moment, as a route that is gone, to
 * the answer that shows it, which is later.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ExecutionContext } from "ava";
import type { StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { ToldProblem } from "../../src/model/status.ts";
import { agentStatus } from "./lab.ts";

/** ms in which a status has to tell (issue 7), and what a machine may add on which other tests run as well. */
const toldWithinMs = 2_000;
const slackMs = 1_000;

export const problemOf = ({ problems }: StatusDto, code: string, object: string): ToldProblem | undefined =>
  problems.find((each) => each.code.startsWith(code) && each.object.includes(object));

export interface Told {
  readonly t: ExecutionContext;
  readonly lab: Lab;
  readonly node: string;
  /** The fault, in ms since the epoch: taken before it. */
  readonly since: number;
  /** Where more than the agent's own work is waited for. */
  readonly withinMs?: number;
}

/** For a fault that is about to happen. */
export const now = (t: ExecutionContext, lab: Lab, node: string): Told => ({ t, lab, node, since: Date.now() });

/** The problem that is told of the fault. @param code or how it begins */
export async function tellsProblem(about: Told, code: string, object: string): Promise<ToldProblem> {
  for (;;) {
    const problem = problemOf(await agentStatus(about.lab, about.node), code, object);
    if (problem !== undefined) {
      // One from before this fault would be told of anything.
      if (Date.parse(problem.since) < about.since) about.t.fail(`${code} was told before: ${problem.since}`);
      soon(about, `${code} ${object}`, Date.parse(problem.since));
      return problem;
    }
    await pause(about, `${code} ${object}`);
  }
}

/** The status as soon as it is so. */
export async function tells(about: Told, what: string, isSo: (status: StatusDto) => boolean): Promise<StatusDto> {
  for (;;) {
    const status = await agentStatus(about.lab, about.node);
    if (isSo(status)) {
      soon(about, what, Date.now());
      return status;
    }
    await pause(about, what);
  }
}

function soon({ t, node, since, withinMs = toldWithinMs }: Told, what: string, at: number): void {
  t.log(`${node} tells after ${((at - since) / 1000).toFixed(2)} s: ${what}`);
  t.true(at - since < withinMs + slackMs, `${node}: ${what}: ${at - since} ms`);
}

/** Much longer than it may take: how late it is, is worth knowing. */
async function pause({ node, since, withinMs = toldWithinMs }: Told, what: string): Promise<void> {
  if (Date.now() - since > withinMs + 60_000) throw new Error(`${node} does not tell: ${what}`);
  await sleep(30);
}
