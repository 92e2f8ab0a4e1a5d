/**
 * The image as a node runs it: the container of the DaemonSet's manifest, with its capabilities, its mounts and its read-only files and not one
 * more, by a runtime of the Open Container Initiative (crun). The agent gets ready, gives the runtime its plugin, pods are wired by that plugin and
 * reach one another, and the container of manifests/cleanup leaves nothing.
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
import { startDaemon, stopDaemon } from "../../src/lab/processes.ts";
import { inside, mustRun, run } from "../../src/lab/run.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { isRealApiServer, labApiServer } from "../support/api-server-process.ts";
import { defineCustomKinds } from "../support/faults-cluster.ts";
import { flatten } from "../support/kustomize.ts";
import { answererOf, pod, withLab } from "../support/lab.ts";
import { containerOf, type ContainerPlace, type ManifestContainer } from "../support/oci-container.ts";

const title =
  "the image runs as the manifests say: it gets ready, wires pods by the plugin that it installs, and is removed without a trace";
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

/** Runs a container in the node's namespaces; by its name it is entered and ended. */
class Crun {
  readonly #folder: string;
  readonly #lab: Lab;
  readonly #exits = new Map<string, number>();

  constructor(folder: string, lab: Lab) {
    this.#folder = folder;
    this.#lab = lab;
  }

  log(name: string): Promise<string> {
    return readFile(join(this.#folder, `${name}.log`), "utf8").catch(() => "");
  }

  async start(name: string, { spec }: ManifestContainer): Promise<void> {
    const bundle = join(this.#folder, name);
    await mkdir(bundle, { recursive: true });
    await writeFile(join(bundle, "config.json"), JSON.stringify(spec));
    await startDaemon({
      netns: null,
      cgroup: systemCgroup(this.#lab.node("node-1")),
      command: [...this.#crun, "run", "--bundle", bundle, this.#id(name)],
      log: join(this.#folder, `${name}.log`),
      pidFile: this.#pidFile(name),
      onExit: (code) => this.#exits.set(name, code),
    });
  }

  exec(name: string, command: readonly string[]) {
    return run([...this.#crun, "exec", this.#id(name), ...command]);
  }

  /** null: it runs. */
  exitCode(name: string): number | null {
    return this.#exits.get(name) ?? null;
  }

  /** As kubelet ends it. */
  async stop(name: string): Promise<void> {
    await stopDaemon(this.#pidFile(name), "SIGTERM", 10_000);
    await run([...this.#crun, "delete", "--force", this.#id(name)]);
  }

  #pidFile(name: string): string {
    return join(this.#folder, `${name}.pid`);
  }

  #id(name: string): string {
    return `tandem-${this.#lab.name}-${name}`;
  }

  /** crun refuses machines where controllers are divided between both versions of cgroups: it is shown the second alone. */
  get #crun(): readonly string[] {
    const crun = ["crun", "--root", join(this.#folder, "crun"), "--cgroup-manager", "disabled"];
    const root = dirname(this.#lab.plan.cgroup);
    if (root === "/sys/fs/cgroup") return crun;
    const show = `mount --bind ${root} /sys/fs/cgroup && exec "$@"`;
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", show, "sh", ...crun];
  }
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

/** Of the agent's account, with the rights of the manifests' roles; an API server that knows no accounts has one token for everybody. */
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
async function serviceAccount(folder: string, lab: Lab, client: KubeClient): Promise<string> {
  const path = join(folder, "serviceaccount");
  await mkdir(path);
  await writeFile(join(path, "token"), await tokenOf(lab, client, "tandem-agent"));
  await writeFile(join(path, "ca.crt"), await readFile(join(lab.plan.api.folder, "data/ca.crt")));
  await writeFile(join(path, "namespace"), "kube-system");
  return path;
}

/** The agent's account and its rights, as `kubectl apply` does it. */
async function applyAccount(lab: Lab, objects: readonly KubeObject[]): Promise<void> {
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
      await defineCustomKinds(client);
      const root = await nodeFiles(t, folder, lab);
      const base = flatten(join(manifests, "base"));
      const daemonSet = (name: string, objects: readonly KubeObject[]) => {
        const found = objects.find(({ kind, metadata }) => kind === "DaemonSet" && metadata.name === name);
        if (found === undefined) throw new Error(`there is no DaemonSet ${name}`);
        return found;
      };
      await applyAccount(lab, base);
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
        serviceAccount: await serviceAccount(folder, lab, client),
        folder,
      };
      const crun = new Crun(folder, lab);
      t.teardown(() => crun.stop("agent"));
      const agent = await containerOf(daemonSet("tandem-agent", base), "agent", place);
      await crun.start("agent", agent);

      const probe = async (name: string) => (await crun.exec("agent", agent.probes.get(name) ?? [])).code === 0;
      const ready = async () => {
        if (crun.exitCode("agent") !== null) throw new Error(`the agent ended:\n${await crun.log("agent")}`);
        return probe("readinessProbe");
      };
      await lab.until("the agent is ready, by the manifest's probe", ready, 240_000);
      t.true(await probe("startupProbe"));
      t.true(await probe("livenessProbe"));
      const status = await crun.exec("agent", ["tandem", "status"]);
      t.log(status.stdout);
      t.is(status.code, 0, status.stdout + status.stderr);
      const refused = await crun.exec("agent", ["sh", "-c", "touch /opt/tandem/x"]);
      t.regex(refused.stderr, /Read-only file system/);

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
      t.is((await callPlugin(lab, root, "DEL", byHand, netns)).code, 0);
      await client.delete(kinds.pods, { namespace: "default", name: "by-hand" }, { gracePeriodSeconds: 0 });
      await lab.startKubelet("node-1");

      await lab.deleteObjects([pod("server"), pod("client", { ports: [] })]);
      await crun.stop("agent");
      const cleanup = daemonSet("tandem-cleanup", flatten(join(manifests, "cleanup")));
      await crun.start("cleanup", await containerOf(cleanup, "cleanup", place));
      t.teardown(() => crun.stop("cleanup"));
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
