/**
 * What operators and agents do together on an API server, whichever it is: two operators of which one leads, two nodes that meet the same new
 * labels, and what becomes of identities, endpoints and nodes when their pods and Nodes go.
 */
import { randomUUID } from "node:crypto";
import type { ExecutionContext } from "ava";
import { ClusterIdentityAllocator, clusterNumbers } from "../../src/identities/index.ts";
import { connectKube, type KubeClient, type KubeObject, kinds } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { TandemError } from "../../src/lib/errors.ts";
import { silentLogger } from "../../src/model/logging.ts";
import { Operator } from "../../src/operator/operator.ts";
import { loadOperatorConfig, type OperatorConfig } from "../../src/operator/settings.ts";

/** ms; only what never comes takes so long. */
const limitMs = 240_000;
const stepMs = 100;

const owned = (kind: string, { metadata: { name, uid = "" } }: KubeObject) => ({
  ownerReferences: [{ apiVersion: "v1", kind, name, uid }],
});

export async function until<T>(
  what: string,
  look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
): Promise<T> {
  const began = performance.now();
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() - began > limitMs) throw new Error(`never: ${what}`);
    await systemClock.sleep(stepMs);
  }
}

export interface Place {
  readonly kubeconfig: string;
  /** Ends with the test. */
  readonly teardown: ExecutionContext["teardown"];
}

export function clientOf({ kubeconfig, teardown }: Place, userAgent: string): KubeClient {
  const client = connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent });
  teardown(() => client.close());
  return client;
}

export async function startOperator(
  place: Place,
  name: string,
  settings: Partial<OperatorConfig> = {},
): Promise<Operator> {
  const config = {
    ...loadOperatorConfig({ argv: ["--lease-namespace=kube-system"], env: {}, readFile: () => "" }),
    healthAddress: "127.0.0.1:0",
    // Given back and never waited for here: a machine that is busy must not change the leader.
    leaseDuration: 120,
    leaseRenewDeadline: 90,
    leaseRetry: 1,
    // Shorter than anybody would set it.
    identityGrace: 2,
    gcInterval: 1,
    ...settings,
  };
  const client = connectKube({ kubeconfig: place.kubeconfig, env: {}, clock: systemClock, userAgent: name });
  const identity = `${name}_${randomUUID()}`;
  const operator = new Operator({ config, version: "0", identity, client, clock: systemClock, log: silentLogger });
  place.teardown(() => operator.stop());
  await operator.start();
  return operator;
}

/** An allocator of a node; `number` asks until there is one. */
export function startAllocator(place: Place, nodeName: string) {
  const stopping = new AbortController();
  const allocator = new ClusterIdentityAllocator({
    client: clientOf(place, nodeName),
    nodeName,
    range: clusterNumbers(0),
    record: null,
    onNews: () => undefined,
    conditions: { report: () => undefined },
    log: silentLogger,
    clock: systemClock,
  });
  const running = allocator.run(stopping.signal);
  place.teardown(async () => {
    stopping.abort();
    await running;
  });
  const ask = (key: string): number | null => {
    try {
      return allocator.numberFor(key, nodeName);
    } catch (error) {
      if (error instanceof TandemError) return null;
      throw error;
    }
  };
  return { allocator, number: (key: string) => until(`a number for ${key}`, () => ask(key)) };
}

/** As a node's agent asks for a pod of the namespace `shop`. */
export function labelKey(app: string): string {
  const texts = [
    `k8s:app=${app}`,
    "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
    "k8s:io.cilium.k8s.policy.cluster=default",
    "k8s:io.cilium.k8s.policy.serviceaccount=default",
    "k8s:io.kubernetes.pod.namespace=shop",
  ];
  return texts.sort().join("\n");
}

function pod(name: string, app: string): KubeObject {
  return {
    metadata: { namespace: "shop", name, labels: { app } },
    spec: {
      serviceAccountName: "default",
      nodeName: "n1",
      containers: [{ name: "c", image: "none" }],
      terminationGracePeriodSeconds: 0,
    },
  };
}

export async function operatorScenario(t: ExecutionContext, place: Place): Promise<void> {
  const client = clientOf(place, "test");
  const { namespaces, pods, nodes, ciliumIdentities, ciliumEndpoints, ciliumNodes, serviceAccounts } = {
    ...kinds,
    serviceAccounts: { group: "", version: "v1", plural: "serviceaccounts", kind: "ServiceAccount", namespaced: true },
  };
  const [first, second] = [await startOperator(place, "first"), await startOperator(place, "second")];
  const both = [first, second];
  const leader = await until("a leader", () => both.find((each) => each.status().election.leading));
  const standby = leader === first ? second : first;
  await until("all kinds are served", async () => {
    const lists = [ciliumIdentities, ciliumEndpoints, ciliumNodes].map((kind) => client.listAll(kind));
    return (await Promise.allSettled(lists)).every(({ status }) => status === "fulfilled");
  });
  t.false(standby.status().election.leading);
  t.is((await fetch(`http://127.0.0.1:${leader.healthPort}/healthz`)).status, 200);
  t.regex(await (await fetch(`http://127.0.0.1:${leader.healthPort}/metrics`)).text(), /^tandem_operator_leading 1$/m);

  await client.create(namespaces, { metadata: { name: "shop", labels: { "kubernetes.io/metadata.name": "shop" } } });
  const account = { metadata: { namespace: "shop", name: "default" } };
  // Where a controller makes it, that one may have been quicker.
  await client.create(serviceAccounts, account).catch(() => undefined);
  const node = await client.create(nodes, {
    metadata: { name: "n1" },
    spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] },
  });
  const made = await until("a CiliumNode", () => client.get(ciliumNodes, { name: "n1" }).catch(() => null));
  t.like(made, { spec: { ipam: { podCIDRs: ["10.1.0.0/24"] } }, metadata: owned("Node", node) });

  const web = await client.create(pods, pod("web", "web"));
  const [a, b] = [startAllocator(place, "n1"), startAllocator(place, "n2")];
  const numbers = await Promise.all([a.number(labelKey("web")), b.number(labelKey("web"))]);
  t.is(numbers[0], numbers[1]);
  const unused = await a.number(labelKey("unused"));
  a.allocator.retain(new Map([[numbers[0], { key: labelKey("web") }]]));
  for (const [name, owner] of [
    ["web", web],
    ["gone", { metadata: { name: "gone", uid: randomUUID() } }],
  ] as const) {
    const object = {
      metadata: { namespace: "shop", name, ...owned("Pod", owner) },
      status: { identity: { id: numbers[0] } },
    };
    await client.create(ciliumEndpoints, object);
  }
  const identities = async () => (await client.listAll(ciliumIdentities)).map(({ metadata }) => metadata.name);
  await until("the unused identity goes", async () => !(await identities()).includes(String(unused)));
  t.deepEqual(await identities(), [String(numbers[0])]);
  await until("the endpoint without a pod goes", async () => (await client.listAll(ciliumEndpoints)).length === 1);

  await leader.stop();
  await until("the other one leads", () => standby.status().election.leading);
  await client.delete(pods, { namespace: "shop", name: "web" }, { gracePeriodSeconds: 0 });
  await client.delete(nodes, { name: "n1" });
  a.allocator.retain(new Map());
  b.allocator.retain(new Map());
  await until("what is left of them goes", async () => {
    const lists = [ciliumIdentities, ciliumEndpoints, ciliumNodes].map((kind) => client.listAll(kind));
    return (await Promise.all(lists)).every(({ length }) => length === 0);
  });
  t.deepEqual(standby.status().problems, []);
}
