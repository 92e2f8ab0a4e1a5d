/** Every overlay is whole: what it names exists, nothing asks for more than it needs, and kube-router runs as the pair demands. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import type { KubeObject } from "../../../src/kube/index.ts";
import { kinds } from "../../../src/kube/index.ts";
import { capabilities } from "../../../src/lib/privileges.ts";
import { flatten, objectId } from "../../support/kustomize.ts";
import { containersOf, find, podSpecOf } from "./workloads.ts";

const root = join(import.meta.dirname, "../../../manifests");
const names = readdirSync(join(root, "overlays")).sort();

/** Classes that every cluster has. */
const builtInClasses = new Set(["system-node-critical", "system-cluster-critical"]);

interface Subject {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

const rulesOf = (role: KubeObject | undefined) => (role?.rules ?? []) as readonly Rule[];

test("there is an overlay for each way of peering", (t) => {
  t.deepEqual(names, ["eks", "external-router", "ibgp-mesh", "route-reflectors"]);
});

for (const name of names) {
  const objects = flatten(join(root, "overlays", name));
  const ids = new Set(objects.map(objectId));

  test(`${name}: everything that is named exists`, (t) => {
    let workloads = 0;
    for (const object of objects) {
      const spec = podSpecOf(object);
      const { namespace = "" } = object.metadata;
      if (object.kind === "ClusterRoleBinding" || object.kind === "RoleBinding") {
        const { roleRef, subjects } = object as unknown as { roleRef: Subject; subjects: readonly Subject[] };
        const role = roleRef.kind === "Role" ? `Role ${namespace}/${roleRef.name}` : `${roleRef.kind} ${roleRef.name}`;
        t.true(ids.has(role), objectId(object));
        for (const each of subjects) t.true(ids.has(`${each.kind} ${each.namespace}/${each.name}`), each.name);
      }
      if (spec === null) continue;
      workloads++;
      t.true(ids.has(`ServiceAccount ${namespace}/${spec.serviceAccountName}`), spec.serviceAccountName);
      t.true(builtInClasses.has(spec.priorityClassName ?? ""), spec.priorityClassName);
      const volumes = new Set((spec.volumes ?? []).map((volume) => volume.name));
      for (const { configMap } of spec.volumes ?? []) {
        if (configMap !== undefined) t.true(ids.has(`ConfigMap ${namespace}/${configMap.name}`), configMap.name);
      }
      const mounts = containersOf(spec).flatMap(({ volumeMounts = [] }) => volumeMounts);
      for (const mount of mounts) t.true(volumes.has(mount.name), mount.name);
      for (const volume of volumes) {
        t.true(
          mounts.some((mount) => mount.name === volume),
          `${volume} is mounted nowhere`,
        );
      }
    }
    t.is(workloads, 4, "the agent, the proxy, the operator and kube-router");
  });

  test(`${name}: kube-router runs with the flags of the pair, each once`, (t) => {
    const pod = podSpecOf(find(objects, "DaemonSet", "kube-router") ?? { metadata: { name: "" } });
    const waits = pod?.initContainers?.some(({ command = [] }) => command.join(" ").includes("tandem wait datapath"));
    t.true(waits, "no address is announced that this node cannot serve yet");
    const args = pod?.containers[0]?.args ?? [];
    const flags = new Map(args.map((arg) => arg.split("=") as [string, string]));
    t.is(flags.size, args.length, "no flag twice");
    t.like(Object.fromEntries(flags), {
      "--run-router": "true",
      "--run-firewall": "false",
      "--run-service-proxy": "false",
      "--enable-cni": "false",
      "--enable-pod-egress": "false",
      "--bgp-graceful-restart": "true",
      "--auto-mtu": "false",
    });
    const peering = ["--enable-ibgp", "--enable-overlay", "--nodes-full-mesh", "--overlay-type"];
    t.deepEqual(
      peering.map((flag) => flags.get(flag) ?? "").join(" "),
      {
        "external-router": "false false false ",
        "ibgp-mesh": "true true  ",
        "route-reflectors": "true false  ",
        eks: "true true  full",
      }[name],
    );
  });
}

test("no overlay brings definitions: those that a cluster has must not be replaced", (t) => {
  const objects = names.flatMap((name) => flatten(join(root, "overlays", name)));
  t.deepEqual(
    objects.filter(({ kind }) => kind === "CustomResourceDefinition"),
    [],
  );
  t.is(flatten(join(root, "crds")).length, 6);
});

const base = flatten(join(root, "base"));
const agent = podSpecOf(find(base, "DaemonSet", "tandem-agent") ?? { metadata: { name: "" } });
const proxy = podSpecOf(find(base, "DaemonSet", "tandem-proxy") ?? { metadata: { name: "" } });
const operator = podSpecOf(find(base, "Deployment", "tandem-operator") ?? { metadata: { name: "" } });

test("no container of ours is privileged, writes its own root or has more than the agent's five capabilities", (t) => {
  const containers = [agent, proxy, operator].flatMap((spec) => (spec === null ? [] : containersOf(spec)));
  t.deepEqual(
    containers.map(({ name }) => name),
    ["agent", "proxy", "operator"],
  );
  for (const { name, securityContext = {}, resources, ...rest } of containers) {
    t.not(securityContext.privileged, true, name);
    t.true(securityContext.readOnlyRootFilesystem, name);
    t.deepEqual(securityContext.capabilities?.drop, ["ALL"], name);
    t.truthy(resources?.requests?.memory, name);
    t.truthy(resources?.requests?.cpu, name);
    if (name === "agent") {
      t.deepEqual(securityContext.capabilities?.add, [...capabilities["tandem-agent"]]);
      for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) t.true(probe in rest, probe);
    } else if (name === "proxy") {
      t.deepEqual(securityContext.capabilities?.add, [...capabilities["tandem-proxy"]]);
      t.false(securityContext.allowPrivilegeEscalation, name);
      t.true("readinessProbe" in rest);
    } else {
      t.is(securityContext.capabilities?.add, undefined, name);
      t.false(securityContext.allowPrivilegeEscalation, name);
    }
  }
});

test("the operator may do what its page says and nothing else, makes only definitions and nodes, and no rule has a wildcard", (t) => {
  const roles = ["ClusterRole", "Role"].flatMap((kind) => rulesOf(find(base, kind, "tandem-operator")));
  t.false(roles.flatMap(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs]).includes("*"));
  const page = readFileSync(join(root, "../docs/operator.md"), "utf8");
  const told = [
    ...(page.split("## Rights")[1] ?? "").matchAll(/^\| ([a-z/, ]+?)(?: \(.*\))? \| ([a-z, ]+) \|$/gm),
  ].slice(1);
  const pairs = (resources: readonly string[], verbs: readonly string[]) =>
    resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`));
  const given = roles.flatMap(({ resources, verbs }) => pairs(resources, verbs));
  const said = told.flatMap(([, resources = "", verbs = ""]) => pairs(resources.split(", "), verbs.split(", ")));
  t.deepEqual([...new Set(given)].sort(), [...new Set(said)].sort());
  const made = roles.filter(({ verbs }) => verbs.includes("create")).flatMap(({ resources }) => resources);
  t.deepEqual(made.sort(), ["ciliumnodes", "customresourcedefinitions", "leases"]);
});

test("the agent may read every kind that it knows, writes only what is its own, and no rule has a wildcard", (t) => {
  const rules = rulesOf(find(base, "ClusterRole", "tandem-agent"));
  const verbsOf = (group: string, resource: string) =>
    new Set(
      rules
        .filter(({ apiGroups, resources }) => apiGroups.includes(group) && resources.includes(resource))
        .flatMap(({ verbs }) => verbs),
    );
  const everything = rules.flatMap(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs]);
  t.false(everything.includes("*"));
  // Settings are a file, leases and CiliumNodes are the operator's, and events are only written.
  const others = new Set(["configmaps", "leases", "events", "ciliumnodes"]);
  // What it asks for beside lists and watches.
  const single: Readonly<Record<string, readonly string[]>> = {
    nodes: ["get", "list", "watch"],
    customresourcedefinitions: ["get"],
    ciliumendpoints: ["create", "delete", "get", "list", "patch"],
    ciliumidentities: ["create", "get", "list", "patch", "watch"],
  };
  for (const { group, plural } of Object.values(kinds)) {
    if (!others.has(plural))
      t.deepEqual([...verbsOf(group, plural)].sort(), single[plural] ?? ["list", "watch"], plural);
  }
  const written = rules
    .filter(({ verbs }) => verbs.some((verb) => !["get", "list", "watch"].includes(verb)))
    .flatMap(({ resources }) => resources);
  t.deepEqual(written.sort(), ["ciliumendpoints", "ciliumidentities", "events"]);
});
