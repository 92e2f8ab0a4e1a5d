/** Where all components leave their problems: the present ones, and a log line when one comes or goes. */
import type { Clock } from "../lib/clock.ts";
import { compareText } from "../model/labels.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem, ToldProblem } from "../model/status.ts";

/** Log lines for one report: a mistake repeated in thousands of objects is told by a few of them and a number. */
const saidAtOnce = 20;

export class Conditions implements ConditionSink {
  readonly #topics = new Map<string, ReadonlyMap<string, ToldProblem>>();
  readonly #log: Logger;
  readonly #clock: Pick<Clock, "now">;

  constructor(log: Logger, clock: Pick<Clock, "now">) {
    this.#log = log;
    this.#clock = clock;
  }

  report(topic: string, problems: readonly Problem[]): void {
    const before = this.#topics.get(topic) ?? new Map<string, ToldProblem>();
    // What goes on in other words, as with another number in them, is not new.
    const known = new Map([...before.values()].map((problem) => [subject(problem), problem.since]));
    const moment = new Date(this.#clock.now()).toISOString();
    const now = new Map(
      problems.map((problem) => {
        const since = before.get(identity(problem))?.since ?? known.get(subject(problem)) ?? moment;
        return [identity(problem), { ...problem, since }];
      }),
    );
    const came = [...now]
      .filter(([key]) => !before.has(key))
      .sort(([, a], [, b]) => compareText(a.severity, b.severity));
    for (const [, problem] of came.slice(0, saidAtOnce)) this.#say(problem);
    if (came.length > saidAtOnce) this.#log.warn({ topic, more: came.length - saidAtOnce }, "and more problems");
    const went = [...before].filter(([key]) => !now.has(key));
    for (const [, { code, object, field }] of went.slice(0, saidAtOnce))
      this.#log.info({ code, object, field }, "mended");
    if (went.length > saidAtOnce) this.#log.info({ topic, more: went.length - saidAtOnce }, "and more mended");
    if (now.size === 0) this.#topics.delete(topic);
    else this.#topics.set(topic, now);
  }

  /** All present problems, errors first, then by object. */
  problems(): readonly ToldProblem[] {
    const all = new Map([...this.#topics.values()].flatMap((topic) => [...topic]));
    return [...all.values()].sort(
      (a, b) => compareText(a.severity, b.severity) || compareText(a.object, b.object) || compareText(a.code, b.code),
    );
  }

  #say(problem: Problem): void {
    const { code, object, field, remedy, message } = problem;
    const fields = { code, object, ...(field !== "" && { field }), remedy };
    if (problem.severity === "error") this.#log.error(fields, message);
    else this.#log.warn(fields, message);
  }
}

/** The same problem said twice is one, by whichever topic. */
function identity(problem: Problem): string {
  return `${subject(problem)}\u0000${problem.message}`;
}

function subject({ code, object, field }: Problem): string {
  return [code, object, field].join("\u0000");
}
