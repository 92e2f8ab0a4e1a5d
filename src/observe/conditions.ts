/** Where all components leave their problems: the present ones, and a log line when one comes or goes. */
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";

export class Conditions implements ConditionSink {
  readonly #topics = new Map<string, ReadonlyMap<string, Problem>>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  report(topic: string, problems: readonly Problem[]): void {
    const before = this.#topics.get(topic) ?? new Map<string, Problem>();
    const now = new Map(problems.map((problem) => [identity(problem), problem]));
    for (const [key, problem] of now) if (!before.has(key)) this.#say(problem);
    for (const [key, problem] of before) {
      if (!now.has(key)) this.#log.info({ code: problem.code, object: problem.object, field: problem.field }, "mended");
    }
    if (now.size === 0) this.#topics.delete(topic);
    else this.#topics.set(topic, now);
  }

  /** All present problems, errors first, then by object. */
  problems(): readonly Problem[] {
    const all = new Map([...this.#topics.values()].flatMap((topic) => [...topic]));
    return [...all.values()].sort(
      (a, b) =>
        a.severity.localeCompare(b.severity) || a.object.localeCompare(b.object) || a.code.localeCompare(b.code),
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
function identity({ code, object, field, message }: Problem): string {
  return [code, object, field, message].join("\u0000");
}
