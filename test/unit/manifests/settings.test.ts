/** What the manifests tell the agent and the CNI plugin is what they take, and the places that both name are mounted. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { describeConfig, loadConfig } from "../../../src/config/index.ts";
import type { KubeObject } from "../../../src/kube/index.ts";
import { agentEnvironment } from "../../../src/lab/runtime.ts";
import { loadProxyConfig } from "../../../src/proxy/settings.ts";
import { flatten } from "../../support/kustomize.ts";
import { containersOf, find, podSpecOf } from "./workloads.ts";

const base = flatten(join(import.meta.dirname, "../../../manifests/base"));
const dataOf = (name: string) => (find(base, "ConfigMap", name)?.data ?? {}) as Readonly<Record<string, string>>;
const settings = dataOf("tandem-agent")["agent.yaml"] ?? "";
const agent = podSpecOf(find(base, "DaemonSet", "tandem-agent") ?? ({ metadata: { name: "" } } satisfies KubeObject));
const mounts = agent?.containers.find(({ name }) => name === "agent")?.volumeMounts ?? [];

const page = readFileSync(join(import.meta.dirname, "../../../docs/configuration.md"), "utf8");

const config = loadConfig({
  argv: ["--config", "agent.yaml"],
  env: { TANDEM_NODE_NAME: "node-1" },
  readFile: () => settings,
});

test("the settings are taken by the agent as they are, and each stands in the documentation", (t) => {
  const known = new Set<string>(describeConfig().map(({ name }) => name));
  const written = Object.keys(parse(settings) as object);
  t.true(written.length >= 8);
  for (const name of written) {
    t.true(known.has(name), name);
    t.true(page.includes(`| \`${name}\` |`), `${name} is in docs/configuration.md`);
  }
  t.is(config.nodeName, "node-1");
  for (const [, name = ""] of settings.matchAll(/^# ([a-z]\w*): /gm)) {
    if (name !== "default" && name !== "true") t.true(known.has(name), `in a comment: ${name}`);
  }
});

test("every place that the agent writes is mounted, since its root is read-only", (t) => {
  const { bpffs, stateDir, socket, cgroup, cniBinDir, cniConfDir } = config;
  const places = [bpffs, stateDir, socket, cgroup ?? "", cniBinDir, cniConfDir];
  for (const place of places) {
    t.true(
      mounts.some(({ mountPath }) => place === mountPath || place.startsWith(`${mountPath}/`)),
      place,
    );
  }
});

test("commands name programs, flags and variables that exist", (t) => {
  const flags = new Set(["--config", ...describeConfig().map(({ flag }) => flag)]);
  const variables = new Set(describeConfig().map(({ variable }) => variable));
  const containers = agent === null ? [] : containersOf(agent);
  const commands = containers.map(({ command = [] }) => command.join(" ")).join("\n");
  t.regex(commands, /exec tandem-agent --config \/etc\/tandem\/agent\.yaml/);
  for (const [, flag = ""] of commands.matchAll(/tandem-agent.* (--[a-z-]+)/g)) t.true(flags.has(flag), flag);
  const own = new Set<string>(Object.keys(agentEnvironment));
  for (const { env = [] } of containers) for (const { name } of env) t.true(variables.has(name) || own.has(name), name);
});

test("the agent's memory is kept small by the same variables as in the lab, where it is measured", (t) => {
  const env = agent?.containers.find(({ name }) => name === "agent")?.env ?? [];
  for (const [name, value] of Object.entries(agentEnvironment))
    t.is(env.find((each) => each.name === name)?.value, value, name);
});

test("the proxy takes its settings as they are, and finds the agent and its maps where the agent has them", (t) => {
  const text = dataOf("tandem-proxy")["proxy.yaml"] ?? "";
  const own = loadProxyConfig({ argv: ["--config", "proxy.yaml"], env: {}, readFile: () => text });
  t.is(own.agentSocket, config.socket);
  t.is(own.bpffs, config.bpffs);
  const spec = podSpecOf(find(base, "DaemonSet", "tandem-proxy") ?? ({ metadata: { name: "" } } satisfies KubeObject));
  const [container] = spec?.containers ?? [];
  for (const place of [own.agentSocket, own.bpffs, own.stateDir, own.readyFile]) {
    t.true(container?.volumeMounts?.some(({ mountPath }) => place.startsWith(`${mountPath}/`)) ?? false, place);
  }
  t.deepEqual(container?.command, ["tandem-proxy", "--config", "/etc/tandem/proxy.yaml"]);
  t.true(JSON.stringify(container?.readinessProbe).includes(`"${own.readyFile}"`));
  const { terminationGracePeriodSeconds = 0 } = spec as unknown as { readonly terminationGracePeriodSeconds?: number };
  t.true(own.drainSeconds + 5 <= terminationGracePeriodSeconds, "it may drain");
});

test("the agent installs the CNI plugin, into the node's folders and before what others leave behind", (t) => {
  t.true(config.cniInstall);
  t.true(config.cniConfName < "10-kuberouter.conflist");
  const volumes = new Map(agent?.volumes?.map(({ name, hostPath }) => [name, hostPath?.path]));
  const onNode = (place: string) => volumes.get(mounts.find(({ mountPath }) => mountPath === place)?.name ?? "");
  t.is(onNode(config.cniBinDir), "/opt/cni/bin");
  t.is(onNode(config.cniConfDir), "/etc/cni/net.d");
  // The runtime calls the plugin on the node: both have to mean the same places.
  for (const place of [config.stateDir, dirname(config.socket)]) t.is(onNode(place), place);
  for (const { mountPath, readOnly } of mounts)
    if (mountPath.startsWith("/host/") && mountPath !== config.cgroup) t.not(readOnly, true, mountPath);
});
