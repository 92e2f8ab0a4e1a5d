/** Parts of manifests/ that no overlay has: what takes Tandem off nodes, and what a newer API server is needed for. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { createProgram } from "../../../src/cli/program.ts";
import { loadConfig } from "../../../src/config/index.ts";
import type { KubeObject } from "../../../src/kube/index.ts";
import { flatten, readObjects } from "../../support/kustomize.ts";
import { containersOf, find, type PodSpec, podSpecOf } from "./workloads.ts";

const root = join(import.meta.dirname, "../../../manifests");

function specOf(object: KubeObject | undefined): PodSpec {
  const spec = object === undefined ? null : podSpecOf(object);
  if (spec === null) throw new Error("no such workload");
  return spec;
}

const base = flatten(join(root, "base"));
const operator = find(base, "Deployment", "tandem-operator");
const agent = specOf(find(base, "DaemonSet", "tandem-agent"));
const cleanup = specOf(find(flatten(join(root, "cleanup")), "DaemonSet", "tandem-cleanup"));
const [worker] = cleanup.initContainers ?? [];

test("the base may be in another namespace: nothing that runs is told the one it is in", (t) => {
  const told = base.filter(({ kind = "" }) => ["ConfigMap", "DaemonSet", "Deployment"].includes(kind));
  t.is(told.length, 5);
  for (const { kind, metadata, ...rest } of told)
    t.notRegex(JSON.stringify(rest), /kube-system/, `${kind} ${metadata.name}`);
});

test("the budget is the operator's, and lets a node be drained that has the only one", (t) => {
  const [budget] = readObjects(join(root, "components/disruption-budget/operator.yaml"));
  t.is(budget?.apiVersion, "policy/v1");
  t.is(budget?.metadata.namespace, operator?.metadata.namespace);
  const { selector } = (operator?.spec ?? {}) as { readonly selector?: unknown };
  t.deepEqual(budget?.spec, { maxUnavailable: 1, selector });
});

test("the proxy hands over where the component is named, and has no right on the API server anywhere", (t) => {
  const daemon = find(base, "DaemonSet", "tandem-proxy");
  t.deepEqual((daemon?.spec as { readonly updateStrategy?: unknown })?.updateStrategy, {
    type: "RollingUpdate",
    rollingUpdate: { maxUnavailable: 1 },
  });
  const surge = parse(readFileSync(join(root, "components/proxy-surge/kustomization.yaml"), "utf8")) as {
    readonly patches: readonly { readonly target: object; readonly patch: string }[];
  };
  t.deepEqual(surge.patches[0]?.target, { kind: "DaemonSet", name: "tandem-proxy" });
  t.deepEqual(parse(surge.patches[0]?.patch ?? ""), [
    { op: "replace", path: "/spec/updateStrategy/rollingUpdate", value: { maxSurge: 1, maxUnavailable: 0 } },
  ]);
  t.deepEqual(
    base.filter(
      ({ kind, subjects }) => kind?.endsWith("Binding") === true && JSON.stringify(subjects).includes("tandem-proxy"),
    ),
    [],
  );
});

test("the cleanup is a command that exists, with flags that exist", async (t) => {
  const [program, command, ...words] = worker?.command ?? [];
  t.deepEqual([program, command], ["tandem", "cleanup"]);
  const ignore = () => undefined;
  const context = {
    write: ignore,
    note: ignore,
    setExitCode: ignore,
    env: {},
    colour: false,
    signal: new AbortController().signal,
  };
  const { commands } = await createProgram(context, []);
  const own = new Set(commands.find((each) => each.name() === command)?.options.map(({ long }) => long));
  const flags = words.filter((word) => !own.has(word));
  t.true(flags.length < words.length, "--yes is the command's own");
  t.notThrows(() => loadConfig({ argv: flags, env: { TANDEM_NODE_NAME: "node-1" }, readFile: () => "" }));
});

test("the cleanup sees the places of the node that the agent wrote to", (t) => {
  const written = containersOf(agent).flatMap(({ volumeMounts = [] }) =>
    volumeMounts.filter((mount) => (mount as { readonly readOnly?: boolean }).readOnly !== true),
  );
  const pathOf = (spec: PodSpec, volume: string) => spec.volumes?.find(({ name }) => name === volume)?.hostPath?.path;
  const places = new Set(written.flatMap(({ name, mountPath }) => (pathOf(agent, name) ? [mountPath] : [])));
  t.true(places.size >= 4);
  for (const place of places)
    t.true(worker?.volumeMounts?.some(({ mountPath }) => mountPath === place) ?? false, place);
  for (const { name } of worker?.volumeMounts ?? []) t.is(pathOf(cleanup, name), pathOf(agent, name), name);
});

test("the cleanup has no more rights than the agent, and none on the API server", (t) => {
  t.is((cleanup as unknown as { readonly automountServiceAccountToken: boolean }).automountServiceAccountToken, false);
  const agents = agent.containers.find(({ name }) => name === "agent")?.securityContext?.capabilities?.add ?? [];
  for (const each of worker?.securityContext?.capabilities?.add ?? []) t.true(agents.includes(each), each);
  for (const container of containersOf(cleanup)) {
    t.like(container.securityContext, { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false });
    t.deepEqual(container.securityContext?.capabilities?.drop, ["ALL"]);
    t.is(container.securityContext?.privileged, undefined);
  }
});
