/** Manifests of offline commands: files, folders and standard input as one cluster, with everything that is wrong in them by its place. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { completeObjects } from "../../compute/offline/complete.ts";
import { clusterOfManifests, type OfflineCluster } from "../../compute/offline/cluster.ts";
import { messageOf } from "../../lib/errors.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import { parseManifest } from "../../sources/files/parse-manifest.ts";
import {
  type ManifestObject,
  mergeReadings,
  type ObjectReading,
  placeText,
  readObject,
} from "../../sources/files/read-objects.ts";
import { CliError } from "../errors.ts";
import { lineOfField } from "./field-lines.ts";

/** A problem with the place of what it is about. */
export interface Finding extends Problem {
  /** As the user named it; "" if it is about no single object. */
  readonly file: string;
  /** From 1; 0 where that is not known. */
  readonly line: number;
}

/** What agents are set to. */
export interface ManifestOptions {
  /** Policies of nodes may close what a node needs to stay in its cluster. */
  readonly allowLockout?: boolean;
}

export interface Manifests {
  readonly cluster: OfflineCluster;
  /** By place. */
  readonly findings: readonly Finding[];
  readonly files: number;
  readonly objects: number;
  /** Kinds that have no say, as "apps/v1 Deployment". */
  readonly ignored: readonly string[];
  /** What was made up to judge them, as "addresses of 3 pods". */
  readonly assumed: readonly string[];
}

const manifestName = /^[^.].*\.(ya?ml|json)$/;

/**
 * @param paths files, folders (with the folders in them), "-" for standard input
 * @throws CliError MANIFESTS_UNREADABLE (exit code 2)
 */
export function readManifests(paths: readonly string[], { allowLockout = false }: ManifestOptions): Manifests {
  // The same file may be named twice, also in two ways.
  const files = new Map(paths.flatMap(filesOf).map((file) => [file === "-" ? file : resolve(file), file]));
  const texts = new Map([...files.values()].map((file) => [file === "-" ? "standard input" : file, readText(file)]));
  const parsed = [...texts].map(([file, text]) => parseManifest(text, file));
  const written = parsed.flatMap(({ objects }) => objects);
  const { objects, assumed } = completeObjects<ManifestObject>(written);
  const readings = objects.map(readObject);
  const { rows, problems, ignored } = mergeReadings(readings);
  const cluster = clusterOfManifests(rows, { allowLockout });
  const ownReading = new Map(readings.flatMap((reading) => reading.problems.map((problem) => [problem, reading])));
  // Of several objects of one name the first by file counts; the others are what is told to be too many.
  const byFile = [...readings].sort((a, b) => compareText(a.file, b.file) || a.line - b.line);
  const last = new Map(byFile.map((reading) => [reading.object, reading]));
  const first = new Map(byFile.reverse().map((reading) => [reading.object, reading]));
  const find = (problem: Problem): Finding => {
    const named = problem.code === "MANIFEST_DUPLICATE" ? last : first;
    return place(problem, ownReading.get(problem) ?? named.get(problem.object) ?? null, texts);
  };
  const failures = parsed.flatMap(({ failure }, index): Finding[] => {
    const file = [...texts.keys()][index] ?? "";
    return failure === null ? [] : [{ ...failure, file, line: Number(/\d+/.exec(failure.field)?.[0] ?? 0) }];
  });
  const computed = [...cluster.result.problems, ...cluster.lockoutProblems];
  const findings = [...failures, ...problems.map(find), ...computed.map(find)];
  return {
    cluster,
    findings: distinct(findings).sort(compareFindings),
    files: texts.size,
    objects: written.length,
    ignored: [...ignored.keys()].filter((kind) => !judgedKinds.test(kind)),
    assumed,
  };
}

/** Kinds that are no rows, but that pods were made of. */
const judgedKinds = / (Deployment|StatefulSet|DaemonSet|ReplicaSet|ReplicationController|Job|CronJob)$/;

function filesOf(path: string): readonly string[] {
  if (path === "-") return [path];
  try {
    if (!statSync(path).isDirectory()) return [path];
    const inside = readdirSync(path, { withFileTypes: true }).sort((a, b) => compareText(a.name, b.name));
    return inside.flatMap((entry) => {
      const inner = join(path, entry.name);
      if (entry.isDirectory()) return entry.name.startsWith(".") ? [] : filesOf(inner);
      return manifestName.test(basename(inner)) ? [inner] : [];
    });
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** @throws CliError MANIFESTS_UNREADABLE (exit code 2) */
export function readText(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(path: string, cause: unknown): CliError {
  return new CliError({
    code: "MANIFESTS_UNREADABLE",
    message: `${path} cannot be read: ${messageOf(cause)}`,
    remedy: "name files or folders that are there, or - for standard input",
    exitCode: 2,
    cause,
  });
}

function place(problem: Problem, reading: ObjectReading | null, texts: ReadonlyMap<string, string>): Finding {
  if (reading === null) return { ...problem, file: "", line: 0 };
  const { file, line } = reading;
  const suffix = ` (${placeText(file, line)})`;
  const message = problem.message.endsWith(suffix) ? problem.message.slice(0, -suffix.length) : problem.message;
  const text = texts.get(file);
  return { ...problem, message, file, line: text === undefined ? line : lineOfField(text, file, line, problem.field) };
}

function distinct(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((finding) => [JSON.stringify(finding), finding])).values()];
}

function compareFindings(left: Finding, right: Finding): number {
  return (
    compareText(left.file, right.file) ||
    left.line - right.line ||
    compareText(left.object, right.object) ||
    compareText(left.field, right.field) ||
    compareText(left.message, right.message)
  );
}
