/** `tandem policy impact`: what a change of manifests opens and closes. */
import { writeFileSync } from "node:fs";
import { compareClusters, type Impact, type ImpactRow } from "../../compute/offline/impact.ts";
import { changeKinds, reachText } from "../../compute/offline/reach.ts";
import { messageOf } from "../../lib/errors.ts";
import { type CliContext, painter, printJson } from "../context.ts";
import { CliError } from "../errors.ts";
import { type CellInput, table } from "../table.ts";
import { findingLines, noteAssumed } from "./findings.ts";
import { impactSvg } from "./impact-svg.ts";
import { type ManifestOptions, readManifests } from "./manifests.ts";

export interface ImpactOptions extends ManifestOptions {
  readonly filename?: readonly string[];
  readonly old?: readonly string[];
  readonly new?: readonly string[];
  readonly svg?: string;
  readonly json: boolean;
}

export function impact(context: CliContext, given: ImpactOptions): void {
  const options = withSides(given);
  const common = options.filename ?? [];
  const before = readManifests([...common, ...(options.old ?? [])], options);
  const after = readManifests([...common, ...(options.new ?? [])], options);
  const result = compareClusters(before.cluster, after.cluster);
  for (const [side, { findings }] of [
    ["before", before],
    ["after", after],
  ] as const) {
    const errors = findings.filter(({ severity }) => severity === "error");
    if (errors.length === 0) continue;
    context.setExitCode(1);
    context.note(`not in force ${side} the change, so it does not count there:\n${findingLines(context, errors)}\n`);
  }
  if (options.svg !== undefined) writeSvg(options.svg, impactSvg(result, titleOf(options)));
  if (options.json) printJson(context, impactJson(result));
  else {
    noteAssumed(context, [...new Set([...before.assumed, ...after.assumed])]);
    context.write(impactText(context, result));
    if (options.svg !== undefined) context.note(`picture: ${options.svg}\n`);
  }
}

/** `-f OLD -f NEW`, where neither side is named otherwise. */
function withSides(options: ImpactOptions): ImpactOptions {
  if (options.old !== undefined || options.new !== undefined) return options;
  const [old, fresh, ...others] = options.filename ?? [];
  if (old === undefined || fresh === undefined || others.length > 0) {
    throw new CliError({
      code: "IMPACT_SIDES",
      message: "it is not said what to compare",
      remedy:
        "name all manifests of before and all of after, -f OLD -f NEW; or what they share with -f, and the rest with --old and --new",
      exitCode: 2,
    });
  }
  return { ...options, filename: [], old: [old], new: [fresh] };
}

function titleOf({ old = [], new: fresh = [] }: ImpactOptions): string {
  return `policy impact: ${old.join(", ") || "without"} to ${fresh.join(", ") || "without"}`;
}

function writeSvg(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    throw new CliError({
      code: "IMPACT_SVG",
      message: `${path} cannot be written: ${messageOf(cause)}`,
      remedy: "name a file in a folder that is there",
      exitCode: 2,
      cause,
    });
  }
}

function impactText(context: CliContext, { rows, parties }: Impact): string {
  const compared = `${parties.length} parties compared`;
  if (rows.length === 0) return `nothing changes (${compared})\n`;
  const paints = {
    opens: painter(context, "cyan"),
    closes: painter(context, "yellow"),
    narrows: painter(context, "gray"),
    widens: painter(context, "gray"),
  };
  const cells = rows.map((row): readonly CellInput[] => [
    { text: words[row.kind], paint: paints[row.kind] },
    row.from,
    row.to,
    `${row.ports.replaceAll("; ", "\n")}${row.family === null ? "" : ` (IPv${row.family})`}`,
    row.why.replaceAll("; ", "\n"),
  ]);
  const count = (kind: ImpactRow["kind"]) => rows.filter((row) => row.kind === kind).length;
  const l7 = count("narrows") + count("widens");
  const totals = `${count("opens")} opened, ${count("closes")} closed${l7 > 0 ? `, ${l7} changed by L7 rules` : ""} (${compared})`;
  return `${table(["CHANGE", "FROM", "TO", "PORTS", "DECIDED NOW BY"], cells)}\n${totals}\n`;
}

const words: Readonly<Record<ImpactRow["kind"], string>> = {
  opens: "+ opens",
  closes: "- closes",
  narrows: "! now under L7 rules",
  widens: "! no more under L7 rules",
};

function impactJson({ parties, cells, rows }: Impact): object {
  return {
    parties,
    changes: rows,
    cells: cells.map(({ change, family, ...cell }) => ({
      ...cell,
      family,
      ...Object.fromEntries(
        changeKinds.map((kind) => [kind, change[kind].length === 0 ? null : reachText(change[kind], family)]),
      ),
    })),
  };
}
