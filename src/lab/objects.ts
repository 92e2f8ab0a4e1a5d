/** Kubernetes objects as manifests hold them: only what the lab itself reads is described, everything else passes through untouched. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { LabError } from "./errors.ts";

const stringMap = z.record(z.string(), z.string());

export const metadataSchema = z.looseObject({
  name: z.string().regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, "not a Kubernetes name"),
  namespace: z.string().optional(),
  uid: z.string().optional(),
  labels: stringMap.optional(),
  annotations: stringMap.optional(),
  ownerReferences: z.array(z.looseObject({ kind: z.string(), name: z.string() })).optional(),
});

export const objectSchema = z.looseObject({ apiVersion: z.string(), kind: z.string(), metadata: metadataSchema });

export const containerSchema = z.looseObject({
  name: z.string(),
  command: z.array(z.string()).optional(),
  args: z.array(z.string()).optional(),
  env: z.array(z.looseObject({ name: z.string(), value: z.string().optional() })).optional(),
  ports: z
    .array(
      z.looseObject({
        name: z.string().optional(),
        containerPort: z.int().min(1).max(65535),
        protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
      }),
    )
    .optional(),
});

export const podSpecSchema = z.looseObject({
  nodeName: z.string().optional(),
  hostNetwork: z.boolean().optional(),
  readinessGates: z.array(z.looseObject({ conditionType: z.string() })).optional(),
  containers: z.array(containerSchema).min(1),
});

export const podSchema = objectSchema.extend({
  kind: z.literal("Pod"),
  spec: podSpecSchema,
  status: z
    .looseObject({
      phase: z.string().optional(),
      podIPs: z.array(z.looseObject({ ip: z.string() })).optional(),
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).optional(),
    })
    .optional(),
});

export const deploymentSchema = objectSchema.extend({
  kind: z.literal("Deployment"),
  spec: z.looseObject({
    replicas: z.int().min(0).default(1),
    template: z.looseObject({
      metadata: z.looseObject({ labels: stringMap.optional() }).optional(),
      spec: podSpecSchema,
    }),
  }),
});

export const serviceSchema = objectSchema.extend({
  kind: z.literal("Service"),
  spec: z.looseObject({
    type: z.string().optional(),
    selector: stringMap.optional(),
    clusterIP: z.string().optional(),
    clusterIPs: z.array(z.string()).optional(),
    ipFamilies: z.array(z.enum(["IPv4", "IPv6"])).optional(),
    ipFamilyPolicy: z.string().optional(),
    publishNotReadyAddresses: z.boolean().optional(),
    ports: z
      .array(
        z.looseObject({
          name: z.string().optional(),
          protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
          port: z.int().min(1).max(65535),
          targetPort: z.union([z.int(), z.string()]).optional(),
        }),
      )
      .optional(),
  }),
});

export type KubeObject = z.infer<typeof objectSchema>;
export type Container = z.infer<typeof containerSchema>;
export type Pod = z.infer<typeof podSchema>;
export type Deployment = z.infer<typeof deploymentSchema>;
export type Service = z.infer<typeof serviceSchema>;

const schemas: Readonly<Record<string, z.ZodType<KubeObject>>> = {
  Pod: podSchema,
  Deployment: deploymentSchema,
  Service: serviceSchema,
};

const clusterScoped = new Set(["Namespace", "Node", "CiliumClusterwideNetworkPolicy"]);

/** "Pod shop/web-1": how messages and files name an object. */
export function objectTitle(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return `${object.kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

/** Whether this lab can show an object of that kind and shape. @throws LabError LAB_MANIFEST naming object and field */
export function checkObject(value: unknown, place: string): KubeObject {
  const base = objectSchema.safeParse(value);
  if (!base.success) throw invalid(place, base.error);
  const { kind, metadata } = base.data;
  const object = clusterScoped.has(kind)
    ? base.data
    : { ...base.data, metadata: { ...metadata, namespace: metadata.namespace ?? "default" } };
  const schema = schemas[kind];
  if (schema === undefined) return object;
  const checked = schema.safeParse(object);
  if (!checked.success) throw invalid(`${place}: ${objectTitle(object)}`, checked.error);
  return checked.data;
}

function invalid(object: string, error: z.ZodError): LabError {
  const issues = error.issues.map((issue) => `${issue.path.join(".") || "object"}: ${issue.message}`);
  return new LabError("LAB_MANIFEST", object, issues.join("; "), "correct the manifest; nothing of it was applied");
}

/** Every object of the files and folders, Lists flattened, in order. @throws LabError LAB_MANIFEST on the first that is broken */
export async function readManifests(paths: readonly string[]): Promise<readonly KubeObject[]> {
  const objects: KubeObject[] = [];
  for (const path of paths) for (const file of await manifestFiles(path)) objects.push(...(await readManifest(file)));
  return objects;
}

async function manifestFiles(path: string): Promise<readonly string[]> {
  const found = await stat(path).catch(() => null);
  if (found === null) throw new LabError("LAB_MANIFEST", path, "no such file or folder", "");
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith("."));
  return names.sort().map((name) => join(path, name));
}

async function readManifest(file: string): Promise<readonly KubeObject[]> {
  const text = await readFile(file, "utf8");
  if (file.endsWith(".json")) return flatten(parseJson(text, file), file);
  const documents = parseAllDocuments(text);
  if ("empty" in documents) return [];
  return documents.flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw new LabError("LAB_MANIFEST", file, error.message, "correct the YAML");
    return flatten(document.toJS(), file);
  });
}

/** The YAML parser reads JSON too, a hundred times slower. */
function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LabError("LAB_MANIFEST", file, String(error), "correct the JSON");
  }
}

function flatten(value: unknown, place: string): readonly KubeObject[] {
  if (value === null) return [];
  const list = z.looseObject({ kind: z.string().endsWith("List"), items: z.array(z.unknown()) }).safeParse(value);
  if (list.success) return list.data.items.flatMap((item) => flatten(item, place));
  return [checkObject(value, place)];
}
