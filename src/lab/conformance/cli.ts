/** `tandem lab test CASE…` */
import { type Command, InvalidArgumentError } from "commander";
import { formatReport, formatTotals, reportJson, totalsOf } from "./report.ts";
import { type CaseResult, runConformance } from "./run.ts";

interface TestOptions {
  readonly name: string;
  readonly keep: boolean;
  readonly dual: boolean;
  readonly json: boolean;
  readonly denyAfter: number;
  readonly allowWithin: number;
  readonly set: Readonly<Record<string, unknown>>;
}

export function registerTestCommand(
  lab: Command,
  number: (text: string) => number,
  guard: <A extends unknown[]>(action: (...args: A) => Promise<void>) => (...args: A) => Promise<void>,
): void {
  lab
    .command("test <case...>")
    .description(
      "run conformance cases (folders) as real connections: exit code 1 when one differs from its truth table",
    )
    // Unique, so that two runs never meet.
    .option("--name <name>", "of the lab that is made for it", `conf${process.pid.toString(36)}`)
    .option("--dual", "over IPv6 too, where labels and ports alone decide: pods and nodes get such addresses", false)
    .option("--keep", "leave the lab up, to look at it", false)
    .option("--deny-after <ms>", "silence after which a connection counts as denied", number, 400)
    .option("--allow-within <ms>", "time for a connection that has to be allowed", number, 20_000)
    .option("--set <key=value>", "a setting of every agent, such as tcMode=clsact or cgroup=null", readSetting, {})
    .option("--json", "as JSON", false)
    .action(
      guard(async (folders: string[], { name, dual, keep, json, denyAfter, allowWithin, set }: TestOptions) => {
        const stop = new AbortController();
        const interrupt = () => stop.abort();
        process.once("SIGINT", interrupt);
        process.once("SIGTERM", interrupt);
        const say = (text: string) => process.stderr.write(`${text}\n`);
        try {
          const results = await runConformance({
            folders,
            name,
            dual,
            keep,
            agent: set,
            patience: { denyMs: denyAfter, allowMs: allowWithin },
            signal: stop.signal,
            progress: say,
            onCase: (result, done, total) => say(progressLine(result, done, total)),
          });
          process.stdout.write(
            json ? `${JSON.stringify(reportJson(results), null, 1)}\n` : `${formatReport(results)}\n`,
          );
          if (totalsOf(results).failed > 0) process.exitCode = 1;
        } finally {
          process.off("SIGINT", interrupt);
          process.off("SIGTERM", interrupt);
        }
      }),
    );
}

/** The value is JSON where it can be read as such, else text. */
function readSetting(text: string, before: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("not KEY=VALUE");
  const value = text.slice(at + 1);
  try {
    return { ...before, [text.slice(0, at)]: JSON.parse(value) as unknown };
  } catch {
    return { ...before, [text.slice(0, at)]: value };
  }
}

function progressLine(result: CaseResult, done: number, total: number): string {
  const count = `${done}/${total}`.padStart(2 * String(total).length + 1);
  return `${count}  ${result.name}: ${result.error ?? formatTotals(totalsOf([result]))} (${(result.ms / 1000).toFixed(1)} s)`;
}
