/**
 * Settings of a process: defaults, then the file or folder (--config), then the environment (TANDEM_NODE_NAME), then flags
 * (--node-name). Every value knows where it came from; all problems are told at once. Which settings there are is a zod schema.
 */
import { parse } from "yaml";
import { z } from "zod";
import { TandemError } from "../lib/errors.ts";

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
  /** Names and texts of the files in a folder, as a mounted ConfigMap is one; null: it is none. Left out: there are only files. */
  readonly readFolder?: (path: string) => ReadonlyMap<string, string> | null;
}

export interface SettingDescription<Name extends string = string> {
  readonly name: Name;
  readonly type: string;
  readonly default: string;
  readonly flag: string;
  readonly variable: string;
  readonly description: string;
}

export interface SettingsOptions<S extends z.ZodObject> {
  readonly schema: S;
  /** Start of its variables: "TANDEM_". */
  readonly prefix: string;
  /** Settings that are lists: their texts have commas. */
  readonly lists: readonly string[];
  /** Where all settings are told. */
  readonly remedy: string;
  /** What others call settings -> what they are called here, and who those others are: nobody's name is taken, but who uses it is helped. */
  readonly foreign?: { readonly of: string; readonly names: ReadonlyMap<string, string> };
}

type NameOf<S extends z.ZodObject> = keyof z.infer<S> & string;

export interface Loaded<S extends z.ZodObject> {
  readonly config: z.infer<S>;
  readonly sources: Readonly<Record<NameOf<S>, ConfigSource>>;
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const flagOf = (name: string) => `--${kebab(name)}`;

export class Settings<S extends z.ZodObject> {
  readonly #options: SettingsOptions<S>;
  readonly #names: readonly NameOf<S>[];

  constructor(options: SettingsOptions<S>) {
    this.#options = options;
    this.#names = Object.keys(options.schema.shape) as NameOf<S>[];
  }

  /** @throws ConfigError CONFIG_INVALID, CONFIG_FILE or CONFIG_FLAG */
  load(input: ConfigInput): Loaded<S> {
    const { argv, env } = input;
    const flags = this.#readFlags(argv);
    const path = flags.get("config") ?? env[`${this.#options.prefix}CONFIG`];
    const file = path === undefined ? {} : this.#readConfig(path, input);
    const raw: Record<string, unknown> = { ...file };
    const sources = Object.fromEntries(this.#names.map((name) => [name, name in file ? "file" : "default"])) as Record<
      NameOf<S>,
      ConfigSource
    >;
    for (const name of this.#names) {
      const variable = env[this.#variableOf(name)];
      const flag = flags.get(kebab(name));
      if (variable !== undefined) {
        raw[name] = this.#readText(name, variable);
        sources[name] = "environment";
      }
      if (flag !== undefined) {
        raw[name] = this.#readText(name, flag);
        sources[name] = "flag";
      }
    }
    const result = this.#options.schema.safeParse(raw);
    if (result.success) return { config: result.data, sources };
    const problems = result.error.issues.map((issue) => this.#describeIssue(issue, sources, path));
    throw new ConfigError({
      code: "CONFIG_INVALID",
      object: path ?? "settings",
      message: `settings cannot be used: ${problems.join("; ")}`,
      remedy: this.#options.remedy,
    });
  }

  /** The flags and what they take, for --help. */
  help(): string {
    const rows = this.describe().map(({ name, type, default: standard, description }) => [
      `  ${flagOf(name)} <${type}>`,
      `${description}${standard === "" ? "" : ` (default ${standard})`}`,
    ]);
    rows.unshift(["  --config <file>", "YAML or JSON file of settings"]);
    const width = Math.max(...rows.map(([flag = ""]) => flag.length)) + 2;
    return rows.map(([flag = "", text = ""]) => flag.padEnd(width) + text).join("\n");
  }

  /** Every setting, for people and for the documentation. */
  describe(): readonly SettingDescription<NameOf<S>>[] {
    const schema = z.toJSONSchema(this.#options.schema, { io: "input" }) as {
      readonly properties: Readonly<Record<string, SettingSchema>>;
    };
    return this.#names.map((name) => {
      const property = schema.properties[name] ?? {};
      return {
        name,
        type: typeOf(property),
        default: property.default === undefined ? "" : JSON.stringify(property.default),
        flag: flagOf(name),
        variable: this.#variableOf(name),
        description: property.description ?? "",
      };
    });
  }

  #variableOf(name: string): string {
    return `${this.#options.prefix}${kebab(name).replaceAll("-", "_").toUpperCase()}`;
  }

  #readConfig(path: string, { readFile, readFolder }: ConfigInput): Record<string, unknown> {
    try {
      const folder = readFolder?.(path) ?? null;
      return folder === null ? asSettings(parse(readFile(path))) : this.#readFolder(folder);
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

  /** A file for each setting, named as its flag or as in a file of all; what has another name is told as no such setting. */
  #readFolder(files: ReadonlyMap<string, string>): Record<string, unknown> {
    const names = new Map(this.#names.flatMap((name) => [[kebab(name), name] as const, [name, name] as const]));
    return Object.fromEntries(
      [...files].map(([file, text]) => {
        const name = names.get(file);
        return name === undefined ? [file, text] : [name, this.#readText(name, text.trim())];
      }),
    );
  }

  #readFlags(argv: readonly string[]): ReadonlyMap<string, string> {
    const flags = new Map<string, string>();
    const known = new Set(["config", ...this.#names.map(kebab)]);
    for (let at = 0; at < argv.length; at++) {
      const [, name, inline] = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(argv[at] ?? "") ?? [];
      if (name === undefined || !known.has(name))
        throw wrongFlag(argv[at] ?? "", `unknown argument ${argv[at]}${this.#hint(name ?? "", flagOf)}`);
      const value = inline ?? argv[++at];
      if (value === undefined) throw wrongFlag(`--${name}`, `--${name} needs a value`);
      flags.set(name, value);
    }
    return flags;
  }

  /** A text from a flag or variable as its setting wants it: JSON where it is JSON, a list from commas, else the text. */
  #readText(name: string, text: string): unknown {
    if (this.#options.lists.includes(name) && text !== "null") return text.split(",").filter((part) => part !== "");
    if (["true", "false", "null"].includes(text) || /^(\d+|[[{].*)$/s.test(text)) {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return text; // not JSON after all: validation names the setting
      }
    }
    return text;
  }

  /** What somebody else's name for a setting is here; "": it is nobody's. */
  #hint(name: string, written: (own: string) => string): string {
    const { of = "", names } = this.#options.foreign ?? {};
    const own = names?.get(name);
    return own === undefined ? "" : ` (of ${of}: here ${written(own)} has that meaning)`;
  }

  #describeIssue(
    issue: z.core.$ZodIssue,
    sources: Readonly<Record<string, ConfigSource>>,
    path: string | undefined,
  ): string {
    const name = String(issue.path[0] ?? "");
    if (issue.code === "unrecognized_keys")
      return issue.keys.map((key) => `${key}: no such setting${this.#hint(key, (own) => own)}`).join("; ");
    const variable = this.#variableOf(name);
    const source = sources[name];
    const where =
      source === "flag"
        ? ` (${flagOf(name)})`
        : source === "environment"
          ? ` (${variable})`
          : source === "file"
            ? ` (${path})`
            : "";
    return `${issue.path.join(".")}${where}: ${source === "default" ? `is required (${flagOf(name)} or ${variable})` : issue.message}`;
  }
}

interface SettingSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly anyOf?: readonly { readonly type?: string }[];
  readonly default?: unknown;
  readonly description?: string;
}

function typeOf({ enum: words, type, anyOf }: SettingSchema): string {
  return (
    words?.join("|") ??
    (type === undefined ? undefined : [type].flat().join("|")) ??
    anyOf?.map((one) => one.type ?? "?").join("|") ??
    "text"
  );
}

function asSettings(value: unknown): Record<string, unknown> {
  if (value === null || value === undefined) return {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error("it must hold settings by name");
}

function wrongFlag(object: string, message: string): ConfigError {
  return new ConfigError({ code: "CONFIG_FLAG", object, message, remedy: "--help lists all flags" });
}
