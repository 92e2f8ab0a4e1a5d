/**
 * The agent's settings: defaults, then the file (--config), then the environment (TANDEM_NODE_NAME), then flags
 * (--node-name). Every value knows where it came from; all problems are told at once.
 */
import { parse } from "yaml";
import { z } from "zod";
import { TandemError } from "../lib/errors.ts";
import { type AgentConfig, configSchema, type SettingName } from "./schema.ts";

export type { AgentConfig, SettingName };

export type ConfigSource = "default" | "file" | "environment" | "flag";

/** Settings that cannot be used: one message that names each, where it was set, and what it takes. */
export class ConfigError extends TandemError {
  override readonly name = "ConfigError";
}

export interface ConfigInput {
  /** Arguments after the program's name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
}

export interface LoadedConfig {
  readonly config: AgentConfig;
  readonly sources: Readonly<Record<SettingName, ConfigSource>>;
}

const names = Object.keys(configSchema.shape) as SettingName[];
const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const flagOf = (name: string) => `--${kebab(name)}`;
const variableOf = (name: string) => `TANDEM_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

export function loadConfig(input: ConfigInput): AgentConfig {
  return loadConfigWithSources(input).config;
}

/** @throws ConfigError CONFIG_INVALID, CONFIG_FILE or CONFIG_FLAG */
export function loadConfigWithSources({ argv, env, readFile }: ConfigInput): LoadedConfig {
  const flags = readFlags(argv);
  const path = flags.get("config") ?? env.TANDEM_CONFIG;
  const file = path === undefined ? {} : readConfigFile(path, readFile);
  const raw: Record<string, unknown> = { ...file };
  const sources = Object.fromEntries(names.map((name) => [name, name in file ? "file" : "default"])) as Record<
    SettingName,
    ConfigSource
  >;
  for (const name of names) {
    const variable = env[variableOf(name)];
    const flag = flags.get(kebab(name));
    if (variable !== undefined) {
      raw[name] = readText(name, variable);
      sources[name] = "environment";
    }
    if (flag !== undefined) {
      raw[name] = readText(name, flag);
      sources[name] = "flag";
    }
  }
  const result = configSchema.safeParse(raw);
  if (result.success) return { config: result.data, sources };
  const problems = result.error.issues.map((issue) => describeIssue(issue, sources, path));
  throw new ConfigError({
    code: "CONFIG_INVALID",
    object: path ?? "settings",
    message: `settings cannot be used: ${problems.join("; ")}`,
    remedy: "tandem config --describe lists every setting",
  });
}

/** The flags and what they take, for --help. */
export function configHelp(): string {
  const rows = describeConfig().map(({ name, type, default: standard, description }) => [
    `  ${flagOf(name)} <${type}>`,
    `${description}${standard === "" ? "" : ` (default ${standard})`}`,
  ]);
  rows.unshift(["  --config <file>", "YAML or JSON file of settings"]);
  const width = Math.max(...rows.map(([flag = ""]) => flag.length)) + 2;
  return rows.map(([flag = "", text = ""]) => flag.padEnd(width) + text).join("\n");
}

export interface SettingDescription {
  readonly name: SettingName;
  readonly type: string;
  readonly default: string;
  readonly flag: string;
  readonly variable: string;
  readonly description: string;
}

/** Every setting, for `tandem config --describe` and the documentation. */
export function describeConfig(): readonly SettingDescription[] {
  const schema = z.toJSONSchema(configSchema, { io: "input" }) as {
    readonly properties: Readonly<
      Record<
        string,
        {
          type?: string | readonly string[];
          enum?: readonly string[];
          anyOf?: readonly { type?: string }[];
          default?: unknown;
          description?: string;
        }
      >
    >;
  };
  return names.map((name) => {
    const property = schema.properties[name] ?? {};
    const type =
      property.enum?.join("|") ??
      (property.type === undefined ? undefined : [property.type].flat().join("|")) ??
      property.anyOf?.map((one) => one.type ?? "?").join("|") ??
      "text";
    return {
      name,
      type,
      default: property.default === undefined ? "" : JSON.stringify(property.default),
      flag: flagOf(name),
      variable: variableOf(name),
      description: property.description ?? "",
    };
  });
}

function readConfigFile(path: string, readFile: (path: string) => string): Record<string, unknown> {
  try {
    const value: unknown = parse(readFile(path));
    if (value === null || value === undefined) return {};
    if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
    throw new Error("it must hold settings by name");
  } catch (cause) {
    throw new ConfigError({
      code: "CONFIG_FILE",
      object: path,
      message: `cannot read settings from ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
      remedy: "name a YAML or JSON file with --config",
      cause,
    });
  }
}

function readFlags(argv: readonly string[]): ReadonlyMap<string, string> {
  const flags = new Map<string, string>();
  const known = new Set(["config", ...names.map(kebab)]);
  for (let at = 0; at < argv.length; at++) {
    const [, name, inline] = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(argv[at] ?? "") ?? [];
    if (name === undefined || !known.has(name)) {
      throw new ConfigError({
        code: "CONFIG_FLAG",
        object: argv[at] ?? "",
        message: `unknown argument ${argv[at]}`,
        remedy: "--help lists all flags",
      });
    }
    const value = inline ?? argv[++at];
    if (value === undefined) {
      throw new ConfigError({
        code: "CONFIG_FLAG",
        object: `--${name}`,
        message: `--${name} needs a value`,
        remedy: "--help lists all flags",
      });
    }
    flags.set(name, value);
  }
  return flags;
}

/** A text from a flag or variable as its setting wants it: JSON where it is JSON, a list from commas, else the text. */
function readText(name: SettingName, text: string): unknown {
  if (name === "uplinks") return text.split(",").filter((part) => part !== "");
  if (["true", "false", "null"].includes(text) || /^(\d+|[[{].*)$/s.test(text)) {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text; // not JSON after all: validation names the setting
    }
  }
  return text;
}

function describeIssue(
  issue: z.core.$ZodIssue,
  sources: Readonly<Record<string, ConfigSource>>,
  path: string | undefined,
): string {
  const name = String(issue.path[0] ?? "");
  if (issue.code === "unrecognized_keys") return `${issue.keys.join(", ")}: no such setting`;
  const source = sources[name];
  const where =
    source === "flag"
      ? ` (${flagOf(name)})`
      : source === "environment"
        ? ` (${variableOf(name)})`
        : source === "file"
          ? ` (${path})`
          : "";
  return `${issue.path.join(".")}${where}: ${source === "default" ? `is required (${flagOf(name)} or ${variableOf(name)})` : issue.message}`;
}
