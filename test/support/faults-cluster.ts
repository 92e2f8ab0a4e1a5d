/**
 * A lab on the API server of the tests, for faults: real agents and kubelets that reach it through a front where things go wrong, and
 * a client of the test's own that goes straight to it.
 */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { StatusDto } from "../../src/api/dto.ts";
import { connectKube, isStatus, type KubeClient, type KubeKind, type KubeObject, kinds } from "../../src/kube/index.ts";
import { customKinds, customResourceDefinition, definitionName } from "../../src/kube-objects/index.ts";
import { podRuns } from "../../src/lab/kube/rollout.ts";
import type { Lab, LabOptions } from "../../src/lab/lab.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { one } from "../unit/kube/certificates.ts";
import { TestApiServer } from "./api-server/server.ts";
import { ApiFront } from "./faults-front.ts";
import { pod, withLab } from "./lab.ts";

const firstToken = "of-nodes-0";

/** Lab.up asks for the account that pods need; kubelets renew leases. */
const serviceAccounts: KubeKind = {
  group: "",
  version: "v1",
  plural: "serviceaccounts",
  kind: "ServiceAccount",
  namespaced: true,
};

export class FaultCluster {
  readonly server: TestApiServer;
  readonly front: ApiFront;
  /** Goes by no front. */
  readonly client: KubeClient;
  readonly kubeconfig: string;
  readonly #tokenFile: string;
  #tokens = 0;

  private constructor(server: TestApiServer, front: ApiFront, client: KubeClient, folder: string) {
    this.server = server;
    this.front = front;
    this.client = client;
    this.kubeconfig = join(folder, "kubeconfig");
    this.#tokenFile = join(folder, "token");
  }

  /** Ends with the test. */
  static async start(t: ExecutionContext): Promise<FaultCluster> {
    const folder = await mkdtemp(join(tmpdir(), "tandem-faults-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const server = new TestApiServer();
    await server.start();
    t.teardown(() => server.stop());
    const front = new ApiFront(server.url, one.server, [firstToken]);
    await front.start();
    t.teardown(() => front.stop());
    const direct = join(folder, "direct");
    await writeFile(direct, kubeconfigOf({ server: server.url }, {}));
    const client = connectKube({ kubeconfig: direct, env: {}, clock: systemClock, userAgent: "tandem-test" });
    t.teardown(() => client.close());
    const cluster = new FaultCluster(server, front, client, folder);
    await cluster.#prepare();
    return cluster;
  }

  async #prepare(): Promise<void> {
    const authority = Buffer.from(one.ca).toString("base64");
    const place = {
      server: this.front.url,
      "certificate-authority-data": authority,
      "tls-server-name": "kubernetes",
    };
    await writeFile(this.#tokenFile, firstToken);
    await writeFile(this.kubeconfig, kubeconfigOf(place, { tokenFile: this.#tokenFile }));
    await this.client.create(kinds.namespaces, { metadata: { name: "kube-node-lease" } });
    await this.client.create(serviceAccounts, { metadata: { namespace: "default", name: "default" } });
    await this.define();
  }

  define(): Promise<void> {
    return defineCustomKinds(this.client);
  }

  /** Deletes the definitions of cilium.io, and with them all objects of these kinds and, as real servers do, their watches. */
  async undefine(): Promise<void> {
    for (const kind of customKinds) {
      const name = definitionName(kind);
      await this.client.delete(kinds.customResourceDefinitions, { name });
      for (const watch of this.server.watchesOf(name)) watch.end();
    }
  }

  /** Nodes have the token of now no longer; watches that run go on until they are cut, as with real servers. */
  expireToken(): void {
    this.front.tokens.clear();
  }

  /** As kubelet renews a pod's: a new file takes the place of the old one. */
  async renewToken(): Promise<void> {
    const token = `of-nodes-${++this.#tokens}`;
    this.front.tokens.add(token);
    await writeFile(`${this.#tokenFile}.next`, token);
    await rename(`${this.#tokenFile}.next`, this.#tokenFile);
  }

  put(kind: KubeKind, object: KubeObject): Promise<void> {
    return put(this.client, kind, object);
  }

  runPods(pods: readonly KubeObject[]): Promise<void> {
    return runPods(this.client, pods);
  }

  /** Resolves when they are gone. */
  async endPods(lab: Lab, pods: readonly KubeObject[]): Promise<void> {
    for (const { metadata } of pods) await this.client.delete(kinds.pods, nameOf(metadata), { gracePeriodSeconds: 1 });
    const left = async ({ metadata }: KubeObject) =>
      this.client.get(kinds.pods, nameOf(metadata)).then(
        () => true,
        (error: unknown) => {
          if (isStatus(error, 404)) return false;
          throw error;
        },
      );
    for (const pod of pods) {
      await lab.until(`Pod ${pod.metadata.name} is gone`, async () => !(await left(pod)), 240_000);
    }
  }
}

/** Makes it so, whatever it was. */
export async function put(client: KubeClient, kind: KubeKind, object: KubeObject): Promise<void> {
  await client.apply(kind, object, { fieldManager: "test", force: true });
}

/** Creates pods that name their node; resolves when they run. */
export async function runPods(client: KubeClient, pods: readonly KubeObject[]): Promise<void> {
  for (const pod of pods) await client.create(kinds.pods, pod);
  for (const { metadata } of pods) await podRuns(client, nameOf(metadata));
}

/** Makes the definitions of cilium.io; resolves when their kinds are served, which a real API server does a moment later. */
export async function defineCustomKinds(client: KubeClient): Promise<void> {
  for (const kind of customKinds)
    await client.create(kinds.customResourceDefinitions, customResourceDefinition(kind) as KubeObject);
  for (const kind of Object.values(kinds).filter(({ group }) => group === "cilium.io")) await untilServed(client, kind);
}

async function untilServed(client: KubeClient, kind: KubeKind): Promise<void> {
  for (const late = performance.now() + 60_000; ; await systemClock.sleep(100)) {
    try {
      await client.listAll(kind);
      return;
    } catch (error) {
      if (!isStatus(error, 404) || performance.now() > late) throw error;
    }
  }
}

/** A lab, of two nodes unless said, on a new cluster with the kinds of cilium.io; agents number identities by their objects. */
export async function withFaultLab(
  t: ExecutionContext,
  work: (lab: Lab, cluster: FaultCluster) => Promise<void>,
  { nodes = 2, externals = [] }: Pick<LabOptions, "externals"> & { readonly nodes?: number } = {},
): Promise<void> {
  const cluster = await FaultCluster.start(t);
  const api = { kind: "running", kubeconfig: cluster.kubeconfig, server: null } as const;
  await withLab(t, { nodes, externals, api, agent: { identities: "cluster" } }, (lab) => work(lab, cluster));
}

/** Each of the nodes is ready and has no problem. */
export async function untilWell(lab: Lab, nodes: readonly string[]): Promise<void> {
  for (const node of nodes) {
    const well = async () => {
      const status = await statusOf(lab, node);
      return status?.ready === true && status.problems.length === 0;
    };
    await lab.until(`${node} has no problem`, well, 240_000);
  }
}

/** An agent's status; null when none answers. */
export function statusOf(lab: Lab, node: string): Promise<StatusDto | null> {
  return lab.agentStatus(node).then(
    (status) => status as StatusDto,
    () => null,
  );
}

/** A pod of that node, labelled app=APP. */
export function podOn(
  node: string,
  name: string,
  app: string,
  options: Omit<NonNullable<Parameters<typeof pod>[1]>, "node" | "labels"> = {},
): KubeObject {
  const object = pod(name, { ports: [], ...options, node, labels: { app } });
  return { ...object, metadata: { ...object.metadata, name } };
}

export function nameOf({ namespace = "default", name }: KubeObject["metadata"]) {
  return { namespace, name };
}

function kubeconfigOf(cluster: Readonly<Record<string, string>>, user: Readonly<Record<string, string>>): string {
  // JSON is YAML.
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster }],
    contexts: [{ name: "test", context: { cluster: "test", user: "nodes" } }],
    "current-context": "test",
    users: [{ name: "nodes", user }],
  });
}
