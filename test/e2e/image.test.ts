/**
 * The image as a node runs it: the containers of the manifests, with their users, their capabilities, their mounts and their read-only files and not
 * one more, by a runtime of the Open Container Initiative (crun). The operator defines the kinds, the agent gets ready and gives the runtime its
 * plugin, pods are wired by that plugin and reach one another, the proxy judges their requests, and the container of manifests/cleanup leaves nothing.
 *
 * The image is not built here, since that takes minutes: scripts/image builds one and says how to name it.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import test, { type ExecutionContext } from "ava";
import { stringify } from "yaml";
import { connectKube, type KubeClient, type KubeKind, type KubeObject, kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { inside, mustRun, run } from "../../src/lab/run.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { isRealApiServer, labApiServer } from "../support/api-server-process.ts";
import { Crun } from "../support/crun.ts";
import { flatten } from "../support/kustomize.ts";
import { answererOf, pod, withLab } from "../support/lab.ts";
import { containerOf, type ContainerPlace } from "../support/oci-container.ts";

const title =
  "the image runs as the manifests say: operator, agent and proxy work together, pods are wired by its plugin, and it is removed without a trace";
const manifests = new URL("../../manifests/", import.meta.url).pathname;
const image = process.env.TANDEM_IMAGE ?? "";

function whyNot(): string | null {
  for (const program of ["buildah", "crun", "kubectl"])
    if (spawnSync(program, ["--version"], { stdio: "ignore" }).error !== undefined) return `there is no ${program}`;
  return image === "" ? "TANDEM_IMAGE names no image of buildah's; scripts/image makes one" : null;
}

interface Unpacked {
  readonly rootfs: string;
  readonly env: readonly string[];
  readonly cwd: string;
}

/** Mounted until the test ends. */
async function unpacked(t: ExecutionContext): Promise<Unpacked> {
  const container = (await mustRun(["buildah", "from", "--pull-never", image])).trim();
  t.teardown(() => mustRun(["buildah", "rm", container]));
  const rootfs = (await mustRun(["buildah", "mount", container])).trim();
  const told = JSON.parse(await mustRun(["buildah", "inspect", "--type", "container", container])) as {
    readonly OCIv1: { readonly config: { readonly Env: readonly string[]; readonly WorkingDir: string } };
  };
  return { rootfs, env: told.OCIv1.config.Env, cwd: told.OCIv1.config.WorkingDir };
}

/** What stands for the node's file system. @returns its folder */
async function nodeFiles(t: ExecutionContext, folder: string, lab: Lab): Promise<string> {
  const node = lab.node("node-1");
  const root = join(folder, "node");
  const bpffs = join(root, "sys/fs/bpf");
  await mkdir(bpffs, { recursive: true });
  await mustRun(["mount", "-t", "bpf", "bpf", bpffs]);
  t.teardown(() => mustRun(["umount", bpffs]));
  // Where the lab's kubelet and commands look for the agent of this node.
  for (const path of [node.socket, node.stateDir]) await rm(path, { recursive: true, force: true });
  await mkdir(dirname(node.socket), { recursive: true });
  await symlink(join(root, "run/tandem/agent.sock"), node.socket);
  await symlink(join(root, "var/lib/tandem"), node.stateDir);
  return root;
}

const secrets: KubeKind = { group: "", version: "v1", plural: "secrets", kind: "Secret", namespaced: true };
const byName = "kubernetes.io/service-account.name";

/** With the rights of the manifests' roles; an API server that knows no accounts has one token for everybody. */
async function tokenOf(lab: Lab, client: KubeClient, account: string): Promise<string> {
  if (!isRealApiServer) return readFile(join(lab.plan.api.folder, "data/token"), "utf8");
  let token = "";
  await lab.until(`ServiceAccount ${account} has a token`, async () => {
    const found = await client.listAll(secrets, { namespace: "kube-system" });
    const secret = found.find(({ metadata }) => metadata.annotations?.[byName] === account);
    token = (secret?.data as { readonly token?: string } | undefined)?.token ?? "";
    return token !== "";
  });
  return Buffer.from(token, "base64").toString();
}

/** As kubelet mounts it. */
async function serviceAccount(folder: string, lab: Lab, client: KubeClient, name: string): Promise<string> {
  const path = join(folder, `serviceaccount-${name}`);
  await mkdir(path);
  await writeFile(join(path, "token"), await tokenOf(lab, client, name), { mode: 0o600 });
  await writeFile(join(path, "ca.crt"), await readFile(join(lab.plan.api.folder, "data/ca.crt")));
  await writeFile(join(path, "namespace"), "kube-system");
  return path;
}

/** Accounts and their rights, as `kubectl apply` does it. */
async function applyAccounts(lab: Lab, objects: readonly KubeObject[]): Promise<void> {
  const isMeant = /^(ServiceAccount|ClusterRole|ClusterRoleBinding|Role|RoleBinding)$/;
  const input = objects
    .filter(({ kind }) => isMeant.test(kind ?? ""))
    .map((object) => stringify(object))
    .join("---\n");
  await mustRun(["kubectl", "--kubeconfig", lab.plan.api.kubeconfig, "apply", "-f", "-"], { input });
}

/** Calls the plugin as the runtime of that node: with its files, and the configuration that was installed. */
async function callPlugin(lab: Lab, root: string, command: "ADD" | "DEL", { metadata }: KubeObject, netns: string) {
  const conflist = JSON.parse(await readFile(join(root, "etc/cni/net.d/05-tandem.conflist"), "utf8")) as {
    readonly cniVersion: string;
    readonly name: string;
    readonly plugins: readonly { readonly type: string }[];
  };
  const { plugins, ...common } = conflist;
  const [plugin] = plugins;
  const words = ["chroot", root, `/opt/cni/bin/${plugin?.type}`];
  const { namespace = "", name, uid = "" } = metadata;
  return run(inside({ netns: lab.node("node-1").netns, cgroup: systemCgroup(lab.node("node-1")) }, words), {
    input: JSON.stringify({ ...common, ...plugin }),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `by-hand-${uid}`,
      CNI_NETNS: netnsPath(netns),
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_UID=${uid}`,
    },
  });
}

const onlyPublic: KubeObject = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "only-public", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [{ toPorts: [{ ports: [{ port: "8080", protocol: "TCP" }], rules: { http: [{ path: "/public" }] } }] }],
  },
};

const skipped = whyNot();
if (skipped !== null) test.skip(`${title} (${skipped})`, () => undefined);
else
  test(title, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "tandem-image-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const files = await unpacked(t);
    await withLab(t, { nodes: 1, externals: [], agents: false, api: labApiServer }, async (lab) => {
      const { api } = lab.plan;
      const node = lab.node("node-1");
      const client = connectKube({ kubeconfig: api.kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
      t.teardown(() => client.close());
      const root = await nodeFiles(t, folder, lab);
      const base = flatten(join(manifests, "base"));
      const workload = (name: string, objects: readonly KubeObject[]) => {
        const found = objects.find(
          ({ kind = "", metadata }) => /^(DaemonSet|Deployment)$/.test(kind) && metadata.name === name,
        );
        if (found === undefined) throw new Error(`there is no DaemonSet or Deployment ${name}`);
        return found;
      };
      await applyAccounts(lab, base);
      const configMaps = base.filter(({ kind }) => kind === "ConfigMap");
      const elsewhere = new Map([
        ["/sys/fs/cgroup", join("/sys/fs/cgroup", relative(dirname(lab.plan.cgroup), node.cgroup))],
        ["/run/netns", "/run/netns"],
      ]);
      const place: ContainerPlace = {
        ...files,
        nodeName: node.name,
        netns: netnsPath(node.netns),
        env: [...files.env, `KUBERNETES_SERVICE_HOST=${api.ipv4}`, `KUBERNETES_SERVICE_PORT=${api.port}`],
        hostPath: (path) => elsewhere.get(path) ?? join(root, path),
        configMaps: new Map(configMaps.map(({ metadata, data }) => [metadata.name, data as Record<string, string>])),
        serviceAccount: null,
        folder,
      };
      const crun = new Crun(folder, lab, node);
      const start = async (name: string, objects: readonly KubeObject[], account: string | null) => {
        const token = account === null ? null : await serviceAccount(folder, lab, client, account);
        const container = await containerOf(workload(`tandem-${name}`, objects), name, {
          ...place,
          serviceAccount: token,
        });
        t.teardown(() => crun.stop(name));
        await crun.start(name, container);
        return container;
      };

      const operator = await start("operator", base, "tandem-operator");
      await lab.until("the operator answers the manifest's probe", () =>
        crun.probe("operator", operator, "livenessProbe"),
      );
      const itself = await crun.exec("operator", ["cat", "/proc/1/status"]);
      t.regex(itself.stdout, /^Uid:\t65534\t65534\t/m);
      t.regex(itself.stdout, /^CapEff:\t0+$/m);
      const agent = await start("agent", base, "tandem-agent");
      // It needs the kinds that the operator defines.
      const ready = () => crun.probe("agent", agent, "readinessProbe");
      await lab.until("the agent is ready, by the manifest's probe", ready, 240_000);
      t.true(await crun.probe("agent", agent, "startupProbe"));
      t.true(await crun.probe("agent", agent, "livenessProbe"));
      const proxy = await start("proxy", base, null);
      await lab.until("the proxy is ready, by the manifest's probe", () =>
        crun.probe("proxy", proxy, "readinessProbe"),
      );
      const status = await crun.exec("agent", ["tandem", "status"]);
      t.log(status.stdout);
      t.is(status.code, 0, status.stdout + status.stderr);
      const refused = await crun.exec("agent", ["sh", "-c", "touch /opt/tandem/x"]);
      t.regex(refused.stderr, /Read-only file system/);
      for (const tool of ["npm", "node-gyp", "cc", "clang", "make", "cmake"])
        t.not((await crun.exec("agent", ["sh", "-c", `command -v ${tool}`])).code, 0, `the image has no ${tool}`);

      await lab.until("the plugin is installed", async () =>
        ((await readdir(join(root, "etc/cni/net.d")).catch(() => [])) as readonly string[]).includes(
          "05-tandem.conflist",
        ),
      );
      await lab.applyObjects([pod("server"), pod("client", { ports: [] })]);
      // From now on the test is the runtime.
      await lab.stopKubelet("node-1");
      const byHand = await client.create(kinds.pods, {
        metadata: { namespace: "default", name: "by-hand", labels: { app: "by-hand" } },
        spec: { nodeName: node.name, containers: [{ name: "main", image: "none" }] },
      });
      const netns = `tandem-${lab.name}-p-by-hand`;
      await mustRun(["ip", "netns", "add", netns]);
      t.teardown(() => run(["ip", "netns", "del", netns]));
      const added = await callPlugin(lab, root, "ADD", byHand, netns);
      t.is(added.code, 0, added.stdout + added.stderr);
      const { ips } = JSON.parse(added.stdout) as { readonly ips: readonly { readonly address: string }[] };
      t.is(ips.length, 2);
      const { pods } = await lab.status();
      const address = pods.find(({ name }) => name === "server")?.addresses[0] ?? "none";
      t.is(await answererOf(lab, "default/client", address, 8080), "default/server");
      const asked = await run([
        "nsenter",
        `--net=${netnsPath(netns)}`,
        ..."curl -sg -m 20".split(" "),
        `http://${address}:8080/`,
      ]);
      t.regex(asked.stdout, /^default\/server /, "a pod that the installed plugin wired reaches another");
      await lab.applyObjects([onlyPublic]);
      const statusOf = async (path: string) => {
        const words = ["curl", "-sg", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}"];
        return (await lab.exec("default/client", [...words, `http://${address}:8080${path}`])).stdout;
      };
      await lab.until("the proxy refuses what no rule has", async () => (await statusOf("/private")) === "403");
      t.is(await statusOf("/public"), "200");
      await lab.until("the operator says that the policy is enforced", async () => {
        const { status } = (await client.get(kinds.ciliumNetworkPolicies, {
          namespace: "default",
          name: "only-public",
        })) as {
          readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
        };
        return status?.conditions?.some((one) => one.type === "Enforced" && one.status === "True") ?? false;
      });
      await lab.deleteObjects([onlyPublic]);
      t.is((await callPlugin(lab, root, "DEL", byHand, netns)).code, 0);
      await client.delete(kinds.pods, { namespace: "default", name: "by-hand" }, { gracePeriodSeconds: 0 });
      await lab.startKubelet("node-1");

      await lab.deleteObjects([pod("server"), pod("client", { ports: [] })]);
      for (const name of ["proxy", "agent", "operator"]) {
        await crun.stop(name);
        t.is(crun.exitCode(name), 0, `${name} ends by itself when it is asked to:\n${await crun.log(name)}`);
      }
      await start("cleanup", flatten(join(manifests, "cleanup")), null);
      await lab.until(
        "the container of manifests/cleanup has ended",
        async () => crun.exitCode("cleanup") !== null,
        240_000,
      );
      t.is(crun.exitCode("cleanup"), 0, await crun.log("cleanup"));
      // Kernels put files of their own into a new bpffs, NAME.debug.
      const left = await mustRun(["find", root, "-not", "-type", "d", "-not", "-name", "*.debug"]);
      t.is(left, "", "no file, socket or pin is left on the node");
      const links = await mustRun(["nsenter", `--net=${netnsPath(node.netns)}`, "ip", "-o", "link"]);
      t.notRegex(links, /^\d+: (?!lo:|eth0@)/m, "no device of a pod is left");
    });
  });
