/** The definitions on an API server: it takes them, keeps what is valid, and refuses at once what a schema can refuse. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { parse } from "yaml";
import { parsePolicy } from "../../src/compute/policy/parse.ts";
import { isStatus, type KubeClient, type KubeKind, kinds, type KubeObject } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { conformanceObjects, refusedObject, refusedSpecs } from "../support/custom-manifests.ts";
import { withApiServer } from "../support/api-server-process.ts";

const folder = join(import.meta.dirname, "../../manifests/crds");
const title = "an API server takes the definitions, all valid policies, and no other";

const kindOf = (object: KubeObject): KubeKind => {
  const found = Object.values(kinds).find(({ kind, group }) => kind === object.kind && group === "cilium.io");
  if (found === undefined) throw new Error(`${object.kind} is no kind of ours`);
  return found;
};

/** @throws Error after five minutes */
async function establish(client: KubeClient): Promise<number> {
  const definitions = readdirSync(folder)
    .filter((name) => name !== "kustomization.yaml")
    .map((name) => parse(readFileSync(join(folder, name), "utf8")) as KubeObject);
  for (const definition of definitions) await client.create(kinds.customResourceDefinitions, definition);
  for (const { metadata } of definitions) {
    for (let tries = 0; ; tries++) {
      const { status } = await client.get(kinds.customResourceDefinitions, { name: metadata.name });
      const { conditions = [] } = status as { conditions?: readonly { type: string; status: string }[] };
      if (conditions.some((each) => each.type === "Established" && each.status === "True")) break;
      if (tries > 3_000) throw new Error(`${metadata.name}: ${JSON.stringify(status)}`);
      await systemClock.sleep(100);
    }
  }
  // Established is said a moment before every path answers.
  for (let tries = 0; ; tries++) {
    try {
      for (const kind of Object.values(kinds)) if (kind.group === "cilium.io") await client.listAll(kind);
      return definitions.length;
    } catch (error) {
      if (!isStatus(error, 404) || tries > 3_000) throw error;
      await systemClock.sleep(100);
    }
  }
}

async function valid(t: ExecutionContext, client: KubeClient): Promise<void> {
  const objects = conformanceObjects();
  const namespaces = new Set(objects.map(([, { metadata }]) => metadata.namespace).concat("shop"));
  for (const name of namespaces) {
    if (name === undefined) continue;
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
    await client.apply(kinds.namespaces, namespace, { fieldManager: "tandem-test" });
  }
  for (const [name, object] of objects) {
    const stored = await client.create(kindOf(object), object, { dryRun: true });
    t.deepEqual(stored.spec, object.spec, `${name}: ${object.metadata.name} is kept as a whole`);
  }
  t.log(`${objects.length} valid objects`);
}

async function invalid(t: ExecutionContext, client: KubeClient): Promise<void> {
  const fates = { schema: 0, reader: 0, pruned: 0 };
  for (const row of refusedSpecs()) {
    const policy = refusedObject(row);
    let stored: KubeObject;
    try {
      stored = await client.create(kindOf(policy), policy, { dryRun: true });
    } catch (error) {
      t.true(isStatus(error, 422), `${row.what}: ${String(error)}`);
      fates.schema++;
      continue;
    }
    if (row.code === "POLICY_UNKNOWN_FIELD") {
      t.notDeepEqual(stored.spec, policy.spec, row.what);
      fates.pruned++;
      continue;
    }
    const { namespace = "", name } = stored.metadata;
    const kind = stored.kind as "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy";
    const read = parsePolicy({ kind, namespace, name, uid: "", generation: 1, spec: stored.spec, specs: null });
    t.false(read.valid, row.what);
    t.true(
      read.problems.some(({ code }) => code === row.code),
      row.what,
    );
    fates.reader++;
  }
  t.true(fates.schema >= 40 && fates.reader >= 50 && fates.pruned >= 8, JSON.stringify(fates));
  t.log(`refused with 422: ${fates.schema}, by the reader: ${fates.reader}, pruned: ${fates.pruned}`);
}

/** Who may write what: the status of a policy is written apart from it, an endpoint is written at once. */
async function statuses(t: ExecutionContext, client: KubeClient): Promise<void> {
  const shop = { name: "api", namespace: "shop" };
  const spec = { endpointSelector: {}, ingress: [{}] };
  const apiVersion = "cilium.io/v2";
  const policies = kinds.ciliumNetworkPolicies;
  await client.create(policies, { apiVersion, kind: policies.kind, metadata: shop, spec, status: { conditions: [] } });
  const conditions = [{ type: "Valid", status: "True", lastTransitionTime: "2026-01-02T03:04:05Z" }];
  const written = await client.patch(policies, shop, { status: { conditions }, spec: null }, { subresource: "status" });
  t.deepEqual(written.spec, spec, "who writes a status writes nothing else");
  t.deepEqual(written.status, { conditions });
  t.is(written.metadata.generation, 1, "and makes no new generation");

  const endpoints = kinds.ciliumEndpoints;
  const status = { state: "ready", identity: { id: 65_578 }, networking: { addressing: [{ ipv4: "10.244.1.7" }] } };
  const made = await client.create(endpoints, { apiVersion, kind: endpoints.kind, metadata: shop, status });
  t.deepEqual(made.status, status, "one request makes an endpoint with its state");
}

test(title, async (t) => {
  t.timeout(900_000);
  await withApiServer(
    async (client) => {
      t.is(await establish(client), 6);
      await valid(t, client);
      await invalid(t, client);
      await statuses(t, client);
    },
    { KCM: "0" },
  );
});
