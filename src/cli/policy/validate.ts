/** `tandem policy validate`: every problem of every object at once. */
import type { ComputedPolicy } from "../../compute/result.ts";
import { type CliContext, painter, printJson } from "../context.ts";
import { counted, countText, findingLines } from "./findings.ts";
import { type ManifestOptions, type Manifests, readManifests } from "./manifests.ts";

export interface ValidateOptions extends ManifestOptions {
  readonly filename: readonly string[];
  readonly json: boolean;
  readonly strict: boolean;
}

export function validate(context: CliContext, { filename, json, strict, ...settings }: ValidateOptions): void {
  const manifests = readManifests(filename, settings);
  const { findings } = manifests;
  const bad = findings.some(({ severity }) => strict || severity === "error");
  if (bad) context.setExitCode(1);
  if (json) {
    const { files, objects, ignored } = manifests;
    const policies = manifests.cluster.result.policies.map(({ kind, namespace, name, valid, pods }) => {
      return { kind, namespace, name, valid, pods };
    });
    printJson(context, { ok: !bad, files, objects, policies, ignored, findings });
  } else {
    context.write(findingLines(context, findings));
    context.write(`${summary(context, manifests, bad)}\n`);
  }
}

function summary(context: CliContext, { files, objects, ignored, findings, cluster }: Manifests, bad: boolean): string {
  const { policies } = cluster.result;
  const refused = policies.filter(({ valid }) => !valid);
  const paint = painter(context, bad ? "red" : "green");
  const lines = [
    `${counted(files, "file")}, ${counted(objects, "object")}, ${policiesText(policies.length - refused.length, refused)}: ${paint(countText(findings))}`,
  ];
  if (ignored.length > 0) lines.push(`without a say here: ${ignored.join(", ")}`);
  return lines.join("\n");
}

function policiesText(valid: number, refused: readonly ComputedPolicy[]): string {
  const text = valid === 1 ? "1 policy valid" : `${valid} policies valid`;
  return refused.length === 0 ? text : `${text}, ${refused.length} refused`;
}
