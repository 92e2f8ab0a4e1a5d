/** The agent's settings. `settings` says where they come from, `schema` which there are. */
import { ciliumNames } from "./cilium-names.ts";
import { type AgentConfig, configSchema, type SettingName } from "./schema.ts";
import { type ConfigInput, type Loaded, type SettingDescription, Settings } from "./settings.ts";

export { ciliumNames };
export type { AgentConfig, SettingDescription, SettingName };
export { portRange } from "./port-range.ts";
export { ConfigError, type ConfigInput, type ConfigSource, Settings } from "./settings.ts";

export type LoadedConfig = Loaded<typeof configSchema>;

const settings = new Settings({
  schema: configSchema,
  prefix: "TANDEM_",
  lists: ["uplinks", "externalIps", "dnsServers", "gobgp"],
  remedy: "tandem config --describe lists every setting",
  foreign: { of: "Cilium", names: ciliumNames },
});

export function loadConfig(input: ConfigInput): AgentConfig {
  return loadConfigWithSources(input).config;
}

/** @throws ConfigError CONFIG_INVALID, CONFIG_FILE or CONFIG_FLAG */
export function loadConfigWithSources(input: ConfigInput): LoadedConfig {
  return settings.load(input);
}

/** The flags and what they take, for --help. */
export function configHelp(): string {
  return settings.help();
}

/** Every setting, for `tandem config --describe` and the documentation. */
export function describeConfig(): readonly SettingDescription<SettingName>[] {
  return settings.describe();
}
