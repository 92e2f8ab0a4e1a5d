/**
 * A container of a manifest as a runtime of Kubernetes would run it, in the words of the OCI runtime specification (1.0): the capabilities, the
 * mounts and the read-only files are the manifest's, what else a container gets is what containerd gives it. So that a manifest which lacks
 * something fails here, and not at the first node of a user.
 */
import { chown, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { KubeObject } from "../../src/kube/index.ts";

const mountSchema = z.strictObject({
  name: z.string(),
  mountPath: z.string(),
  readOnly: z.boolean().default(false),
  mountPropagation: z.enum(["None", "HostToContainer"]).default("None"),
});
const volumeSchema = z.union([
  z.strictObject({ name: z.string(), hostPath: z.strictObject({ path: z.string(), type: z.string() }) }),
  z.strictObject({ name: z.string(), configMap: z.strictObject({ name: z.string() }) }),
  z.strictObject({ name: z.string(), emptyDir: z.looseObject({ sizeLimit: z.string().optional() }) }),
]);
const variableSchema = z.union([
  z.strictObject({ name: z.string(), value: z.string() }),
  z.strictObject({ name: z.string(), valueFrom: z.unknown() }),
]);
const containerSchema = z.looseObject({
  name: z.string(),
  command: z.array(z.string()),
  args: z.array(z.string()).default([]),
  env: z.array(variableSchema).default([]),
  securityContext: z.strictObject({
    runAsUser: z.number(),
    runAsNonRoot: z.boolean().optional(),
    allowPrivilegeEscalation: z.boolean().default(true),
    readOnlyRootFilesystem: z.boolean(),
    capabilities: z.strictObject({ drop: z.tuple([z.literal("ALL")]), add: z.array(z.string()).default([]) }),
  }),
  volumeMounts: z.array(mountSchema).default([]),
});
const workloadSchema = z.looseObject({
  kind: z.enum(["DaemonSet", "Deployment"]),
  spec: z.looseObject({
    template: z.looseObject({
      spec: z.looseObject({
        hostNetwork: z.literal(true),
        automountServiceAccountToken: z.boolean().default(true),
        initContainers: z.array(z.looseObject({ name: z.string() })).default([]),
        containers: z.array(z.looseObject({ name: z.string() })),
        volumes: z.array(volumeSchema).default([]),
      }),
    }),
  }),
});

type Container = z.infer<typeof containerSchema>;
type Mount = z.infer<typeof mountSchema>;

/** Where the container runs, and what stands for the node. */
export interface ContainerPlace {
  readonly nodeName: string;
  /** Of the node: a container of the host's network gets it. */
  readonly netns: string;
  /** The image, unpacked. */
  readonly rootfs: string;
  /** "PATH=/bin", of the image. */
  readonly env: readonly string[];
  readonly cwd: string;
  /** A path of the node's as one of this machine's. */
  readonly hostPath: (path: string) => string;
  /** Data of ConfigMaps, by name. */
  readonly configMaps: ReadonlyMap<string, Readonly<Record<string, string>>>;
  /** What kubelet mounts at /var/run/secrets/kubernetes.io/serviceaccount; null: nothing. */
  readonly serviceAccount: string | null;
  /** For what is made here. */
  readonly folder: string;
}

export interface ManifestContainer {
  /** config.json of a bundle. */
  readonly spec: object;
  /** By name, as "readinessProbe". */
  readonly probes: ReadonlyMap<string, ManifestProbe>;
}

/** A command inside of the container, or what the kubelet asks by HTTP. */
export type ManifestProbe = { readonly command: readonly string[] } | { readonly url: string };

/** @throws ZodError where the manifest has what is not known here: it would be passed over in silence */
export async function containerOf(object: KubeObject, name: string, place: ContainerPlace): Promise<ManifestContainer> {
  const pod = workloadSchema.parse(object).spec.template.spec;
  const found = [...pod.initContainers, ...pod.containers].find((candidate) => candidate.name === name);
  const container = containerSchema.parse(found);
  const mounts: object[] = [...ownMounts];
  for (const mount of container.volumeMounts) {
    const volume = pod.volumes.find((candidate) => candidate.name === mount.name);
    if (volume === undefined) throw new Error(`container ${name}: no volume ${mount.name}`);
    mounts.push(await mountOf(volume, mount, place));
  }
  if (place.serviceAccount !== null && pod.automountServiceAccountToken) {
    const mountPath = "/var/run/secrets/kubernetes.io/serviceaccount";
    // As kubelet does it where a pod's containers have one user; it reads a token that others may not.
    for (const path of await readdir(place.serviceAccount))
      await chown(join(place.serviceAccount, path), container.securityContext.runAsUser, 0);
    mounts.push(bind(place.serviceAccount, { mountPath, readOnly: true, mountPropagation: "None" }));
  }
  return { spec: specOf(container, mounts, place), probes: probesOf(container) };
}

async function mountOf(volume: z.infer<typeof volumeSchema>, mount: Mount, place: ContainerPlace): Promise<object> {
  if ("hostPath" in volume) {
    const source = place.hostPath(volume.hostPath.path);
    if (volume.hostPath.type === "DirectoryOrCreate") await mkdir(source, { recursive: true });
    return bind(source, mount);
  }
  if ("emptyDir" in volume) {
    const { mountPath: destination } = mount;
    return { destination, type: "tmpfs", source: "tmpfs", options: ["rw", "nosuid", "nodev", "mode=1777"] };
  }
  const data = place.configMaps.get(volume.configMap.name);
  if (data === undefined) throw new Error(`there is no ConfigMap ${volume.configMap.name}`);
  const source = join(place.folder, `configmap-${volume.configMap.name}`);
  await mkdir(source, { recursive: true });
  for (const [key, text] of Object.entries(data)) await writeFile(join(source, key), text);
  return bind(source, { ...mount, readOnly: true });
}

function bind(source: string, mount: Pick<Mount, "mountPath" | "readOnly" | "mountPropagation">): object {
  const propagation = mount.mountPropagation === "None" ? "rprivate" : "rslave";
  const options = ["rbind", propagation, mount.readOnly ? "ro" : "rw"];
  return { destination: mount.mountPath, type: "bind", source, options };
}

function specOf(
  { command, args, env, securityContext }: Container,
  mounts: readonly object[],
  place: ContainerPlace,
): object {
  const capabilities = securityContext.capabilities.add.map((name) => `CAP_${name}`);
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: securityContext.runAsUser, gid: securityContext.runAsUser === 0 ? 0 : 65534 },
      args: [...command, ...args],
      env: [...place.env, ...env.map((variable) => `${variable.name}=${textOf(variable, place)}`)],
      cwd: place.cwd,
      // What a program gets that root executes. Nobody else is given any here.
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: !securityContext.allowPrivilegeEscalation,
    },
    root: { path: place.rootfs, readonly: securityContext.readOnlyRootFilesystem },
    hostname: place.nodeName,
    mounts,
    linux: {
      namespaces: [
        { type: "pid" },
        { type: "ipc" },
        { type: "mount" },
        { type: "uts" },
        { type: "network", path: place.netns },
      ],
      // As soon as one mount has HostToContainer.
      rootfsPropagation: "rslave",
      maskedPaths: [
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
      ],
      readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
  };
}

/** Of every container; one of the host's network sees the node's /sys. */
const ownMounts = [
  { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
  {
    destination: "/dev",
    type: "tmpfs",
    source: "tmpfs",
    options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
  },
  {
    destination: "/dev/pts",
    type: "devpts",
    source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
  },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  {
    destination: "/sys",
    type: "bind",
    source: "/sys",
    options: ["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"],
  },
] as const;

const fieldSchema = z.strictObject({ fieldRef: z.strictObject({ fieldPath: z.literal("spec.nodeName") }) });

function textOf(variable: Container["env"][number], { nodeName }: ContainerPlace): string {
  if ("value" in variable) return variable.value;
  fieldSchema.parse(variable.valueFrom);
  return nodeName;
}

const probeSchema = z.looseObject({
  exec: z.strictObject({ command: z.array(z.string()) }).optional(),
  httpGet: z.strictObject({ host: z.string(), port: z.number(), path: z.string() }).optional(),
});

function probesOf(container: Container): ReadonlyMap<string, ManifestProbe> {
  const names = ["startupProbe", "livenessProbe", "readinessProbe"].filter((name) => container[name] !== undefined);
  return new Map(names.map((name) => [name, probeOf(container[name])]));
}

function probeOf(value: unknown): ManifestProbe {
  const { exec, httpGet } = probeSchema.parse(value);
  if (exec !== undefined) return exec;
  if (httpGet === undefined) throw new Error(`a probe that is not known here: ${JSON.stringify(value)}`);
  const { host, port, path } = httpGet;
  return { url: `http://${host}:${port}${path}` };
}
