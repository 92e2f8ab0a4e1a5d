/** The pure parts of the API server of the tests: settings, paths into objects, tables, schemas, addresses of services, reviews of access. */
import test from "ava";
import { review } from "../../support/api-server/access-review.ts";
import { withDefaults } from "../../support/api-server/defaults.ts";
import { discovery } from "../../support/api-server/discovery.ts";
import { ApiFailure } from "../../support/api-server/failure.ts";
import { at, type Json, type JsonObject, listAt, objectAt } from "../../support/api-server/json.ts";
import { valuesAt } from "../../support/api-server/json-path.ts";
import { type Resource, Resources } from "../../support/api-server/resources.ts";
import { conform } from "../../support/api-server/schema.ts";
import { nthAddress, withAddresses } from "../../support/api-server/service-addresses.ts";
import { controllerChoice, readSettings } from "../../support/api-server/settings.ts";
import { Store } from "../../support/api-server/store.ts";
import { asTable, wantsTable } from "../../support/api-server/table.ts";

const resources = new Resources(new Store(10), []);

function causesOf(work: () => unknown): readonly string[] {
  try {
    work();
    return [];
  } catch (error) {
    if (!(error instanceof ApiFailure)) throw error;
    const causes = (error.details?.causes ?? []) as readonly JsonObject[];
    return causes.map(({ field, reason }) => `${String(field)} ${String(reason)}`);
  }
}

test("a script's words and environment are read as the real script reads them", (t) => {
  const settings = readSettings(["data", "7000"], {
    SERVICE_CIDR: "10.1.0.0/16,fd00::/112",
    BIND: "0.0.0.0",
    SANS: "",
  });
  t.like(settings, { port: 7000, bind: "0.0.0.0", names: [], advertise: null });
  t.deepEqual(settings.serviceCidrs, ["10.1.0.0/16", "fd00::/112"]);
  t.true(settings.controllers("deployment"));
  t.false(settings.controllers("podgc"));
  t.false(readSettings(["data", "1"], { KCM: "0" }).controllers("deployment"));
  for (const words of [[], ["data"], ["data", "0"], ["data", "x"], ["data", "1", "more"]])
    t.throws(() => readSettings(words, {}), { instanceOf: RangeError });
  t.throws(() => readSettings(["data", "1"], { SERVICE_CIDR: "10.1.0.0" }), { message: /SERVICE_CIDR/ });
  const some = controllerChoice("deployment,*,-podgc");
  t.deepEqual(["deployment", "namespace", "podgc"].map(some), [true, true, false]);
});

test("discovery tells groups, kinds, their parts, and what is served no more", (t) => {
  const names = (path: string, field: string, name: string) =>
    listAt(discovery(resources, path) ?? {}, field).map((each) => at(each, name));
  t.true(names("/apis", "groups", "name").includes("apps"));
  t.deepEqual(names("/apis/apps", "versions", "groupVersion"), ["apps/v1"]);
  const core = names("/api/v1", "resources", "name");
  for (const name of ["pods", "pods/status", "pods/binding", "namespaces"]) t.true(core.includes(name), name);
  t.is(discovery(resources, "/apis/cilium.io/v2"), null);
  t.is(discovery(resources, "/api/v1/pods"), null);
  const index = discovery(resources, "/openapi/v3");
  const { serverRelativeURL = null } = objectAt(index ?? {}, "paths", "apis/apps/v1");
  t.true(JSON.stringify(discovery(resources, String(serverRelativeURL))).includes("fieldValidation"));
});

test("paths of printer columns lead to fields, items and items with a value", (t) => {
  const object: Json = {
    a: { "b.c": [1, 2] },
    list: [
      { type: "X", is: "no" },
      { type: "Y", is: "yes" },
    ],
  };
  t.deepEqual(valuesAt(object, ".a.b\\.c[1]"), [2]);
  t.deepEqual(valuesAt(object, ".list[?(@.type=='Y')].is"), ["yes"]);
  t.deepEqual(valuesAt(object, ".list[*].type"), ["X", "Y"]);
  t.deepEqual(valuesAt(object, ".a['b.c'][0]"), [1]);
  t.deepEqual(valuesAt(object, ".list[7].type"), []);
  t.throws(() => valuesAt(object, ".list[1:2]"), { instanceOf: RangeError });
});

test("a table has the columns of the kind, and ages", (t) => {
  t.true(wantsTable("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"));
  t.false(wantsTable("application/json"));
  const pods = resources.builtIn("pods");
  const pod = {
    kind: "Pod",
    metadata: { name: "p", creationTimestamp: "2026-01-01T00:00:00Z" },
    spec: { nodeName: "n1" },
    status: { phase: "Running" },
  };
  const now = Date.parse("2026-01-01T00:05:00Z");
  const table = asTable(pods, new Store(10), pod, new URLSearchParams(), now);
  t.deepEqual(at(listAt(table ?? {}, "rows")[0], "cells"), ["p", "Running", "5m", null, "n1"]);
  t.is(asTable(pods, new Store(10), { kind: "Status" }, new URLSearchParams(), now), null);
});

const schema: JsonObject = {
  type: "object",
  properties: {
    spec: {
      type: "object",
      required: ["size"],
      oneOf: [{ required: ["one"] }, { required: ["two"] }],
      properties: {
        size: { type: "integer", minimum: 1, maximum: 9, default: 3 },
        one: { type: "string", pattern: "^a+$", enum: ["a", "aa"] },
        two: { type: "array", maxItems: 1, items: { type: "object", properties: { id: { type: "string" } } } },
        port: { "x-kubernetes-int-or-string": true },
        free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      },
    },
  },
};
const foos: Resource = {
  ...resources.builtIn("configmaps"),
  group: "t.io",
  kind: "Foo",
  custom: { definition: "foos.t.io", schema },
};
const foo = (spec: Json): JsonObject => ({ kind: "Foo", metadata: { name: "f", labels: { a: "b" } }, spec });

test("objects of a custom kind are pruned, completed and checked by its schema", (t) => {
  const kept = conform(foos, "f", foo({ one: "a", free: { x: 1 }, gone: true, port: "http" }));
  t.deepEqual(kept, foo({ one: "a", free: { x: 1 }, port: "http", size: 3 }));
  const wrong = (spec: Json) => causesOf(() => conform(foos, "f", foo(spec)));
  t.deepEqual(wrong({ one: "a", size: 10 }), ["spec.size FieldValueInvalid"]);
  t.deepEqual(wrong({ one: "a", size: "1" }), ["spec.size FieldValueInvalid"]);
  t.deepEqual(wrong({ one: "b" }), ["spec.one FieldValueInvalid", "spec.one FieldValueNotSupported"]);
  t.deepEqual(wrong({ two: [{ id: 1 }, {}] }), ["spec.two FieldValueInvalid", "spec.two[0].id FieldValueInvalid"]);
  t.deepEqual(wrong({}), ["spec FieldValueInvalid"], "none of the alternatives");
  t.deepEqual(wrong({ one: "a", two: [] }), ["spec FieldValueInvalid"], "both of them");
  t.deepEqual(wrong(null), ["spec FieldValueInvalid"]);
});

test("services get addresses of the server's ranges, and keep them", (t) => {
  t.is(nthAddress("10.96.0.0/16", 300), "10.96.1.44");
  t.is(nthAddress("fd00:96::/112", 1), "fd00:96::1");
  const services = resources.builtIn("services");
  const ranges = { cidrs: ["10.96.0.0/16", "fd00:96::/112"] };
  const service = (spec: JsonObject): JsonObject => ({ metadata: { name: "s" }, spec });
  const add = (spec: JsonObject, others: readonly JsonObject[] = [], old: JsonObject | null = null) =>
    withAddresses(services, ranges, old, service(spec), others).spec as JsonObject;
  const first = add({ type: "ClusterIP" });
  t.like(first, { clusterIP: "10.96.0.2", ipFamilyPolicy: "SingleStack" });
  const dual = add({ ipFamilyPolicy: "PreferDualStack" }, [service(first)]);
  t.deepEqual(dual.clusterIPs, ["10.96.0.3", "fd00:96::2"]);
  t.is(add({ clusterIP: "None" }).clusterIP, "None");
  t.is(add({}, [], service(first)).clusterIP, "10.96.0.2", "an update that does not name it");
  t.deepEqual(
    causesOf(() => add({ clusterIP: "10.96.0.9" }, [], service(first))),
    ["spec.clusterIPs[0] FieldValueInvalid"],
  );
  t.deepEqual(
    causesOf(() => add({ clusterIP: "10.96.0.2" }, [service(first)])),
    ["spec.clusterIPs FieldValueInvalid"],
  );
  const ports = add({ type: "NodePort", ports: [{ port: 1 }, { port: 2, nodePort: 30_000 }] }).ports;
  t.deepEqual(
    (ports as readonly JsonObject[]).map(({ nodePort }) => nodePort),
    [30_001, 30_000],
  );
});

test("what a manifest of a built-in kind does not say is filled in", (t) => {
  const image = (text: string) => withDefaults("pods", { spec: { containers: [{ name: "c", image: text }] } });
  const pulls = ["x", "x:latest", "x:1", "host:5000/x", "x@sha256:0"].map(
    (text) => ((image(text).spec as JsonObject).containers as readonly JsonObject[])[0]?.imagePullPolicy,
  );
  t.deepEqual(pulls, ["Always", "Always", "IfNotPresent", "Always", "IfNotPresent"]);
  const policy = withDefaults("networkpolicies.networking.k8s.io", { spec: { egress: [{ ports: [{ port: 1 }] }] } });
  t.like(policy.spec, { policyTypes: ["Ingress", "Egress"], egress: [{ ports: [{ protocol: "TCP", port: 1 }] }] });
  const once = withDefaults("services", { spec: { type: "NodePort", ports: [{ port: 80 }] } });
  t.like(once.spec, { externalTrafficPolicy: "Cluster", ports: [{ protocol: "TCP", targetPort: 80 }] });
  t.deepEqual(withDefaults("services", once), once, "a second time changes nothing");
});

test("who may what follows from roles and bindings", (t) => {
  const store = new Store(100);
  const rules = [{ apiGroups: [""], resources: ["pods", "nodes/status"], verbs: ["get"] }];
  store.put("clusterroles.rbac.authorization.k8s.io", "reader", { metadata: { name: "reader" }, rules });
  const subjects = [{ kind: "ServiceAccount", namespace: "a", name: "x" }];
  const binding = { metadata: { namespace: "shop" }, subjects, roleRef: { kind: "ClusterRole", name: "reader" } };
  store.put("rolebindings.rbac.authorization.k8s.io", "shop/b", binding);
  const may = (user: string, resource: string, namespace = "shop", verb = "get", subresource = "") => {
    const spec = { user, resourceAttributes: { namespace, verb, group: "", resource, subresource } };
    return (review(store, "SubjectAccessReview", { spec }).body.status as JsonObject).allowed;
  };
  const account = "system:serviceaccount:a:x";
  t.true(may(account, "pods"));
  t.true(may(account, "nodes", "shop", "get", "status"));
  t.false(may(account, "nodes"));
  t.false(may(account, "pods", "shop", "get", "status"));
  t.false(may(account, "pods", "other"));
  t.false(may(account, "pods", "shop", "delete"));
  t.false(may("system:serviceaccount:b:x", "pods"));
});
