import test from "ava";
import { type AccessPlan, type ExecPlan, inClusterPlan } from "../../../src/kube/access-plan.ts";
import { KubeConfigError } from "../../../src/kube/errors.ts";
import { runCredentialPlugin } from "../../../src/kube/exec-plugin.ts";

const cluster: AccessPlan = inClusterPlan({}, "https://api.test:6443");

/** @param script what the plugin does, in JavaScript */
function plugin(script: string, changes: Partial<ExecPlan> = {}): ExecPlan {
  return {
    apiVersion: "client.authentication.k8s.io/v1",
    command: process.execPath,
    args: ["-e", script],
    env: {},
    provideClusterInfo: false,
    installHint: "",
    ...changes,
  };
}

const print = (status: object) =>
  `console.log(${JSON.stringify(JSON.stringify({ kind: "ExecCredential", apiVersion: "client.authentication.k8s.io/v1", status }))})`;

test("a token with its end", async (t) => {
  const script = print({ token: "secret", expirationTimestamp: "2030-01-01T00:00:00Z" });
  t.deepEqual(await runCredentialPlugin(plugin(script), cluster, null), {
    token: "secret",
    certificate: null,
    key: null,
    expires: Date.UTC(2030, 0, 1),
  });
});

test("a certificate with its key", async (t) => {
  const script = print({ clientCertificateData: "CERT", clientKeyData: "KEY" });
  t.like(await runCredentialPlugin(plugin(script), cluster, null), { token: null, certificate: "CERT", key: "KEY" });
});

test("the plugin is told its environment, and the cluster where it wants to know", async (t) => {
  const script =
    "console.log(JSON.stringify({ kind: 'ExecCredential', status: { token: process.env.EXTRA + process.env.KUBERNETES_EXEC_INFO } }))";
  const told = async (changes: Partial<ExecPlan>) => {
    const { token } = await runCredentialPlugin(plugin(script, { env: { EXTRA: "!" }, ...changes }), cluster, "CA");
    t.is(token?.[0], "!");
    return JSON.parse(token?.slice(1) ?? "") as { readonly spec: object };
  };
  t.deepEqual((await told({})).spec, { interactive: false });
  t.deepEqual((await told({ provideClusterInfo: true })).spec, {
    interactive: false,
    cluster: { server: "https://api.test:6443", "certificate-authority-data": Buffer.from("CA").toString("base64") },
  });
});

const failing: readonly (readonly [string, ExecPlan, RegExp])[] = [
  ["that ends with a failure", plugin("console.error('log in first'); process.exit(3)"), /ended with 3: log in first$/],
  ["that does not exist", plugin("", { command: "tandem-no-such-plugin" }), /ENOENT/],
  ["that prints no JSON", plugin("console.log('secret')"), /is no JSON$/],
  ["that prints something else", plugin('console.log(\'{"kind":"Pod","secret":1}\')'), /no ExecCredential: kind: /],
  ["that gives nothing", plugin(print({})), /neither a token nor a certificate/],
  ["that gives half a certificate", plugin(print({ clientKeyData: "secret" })), /neither a token nor a certificate/],
];

for (const [what, plan, message] of failing) {
  test(`a plugin ${what} fails by name, without what it printed`, async (t) => {
    const error = await t.throwsAsync(runCredentialPlugin(plan, cluster, null), {
      instanceOf: KubeConfigError,
      code: "KUBE_CREDENTIALS",
      message,
    });
    t.is(error?.object, plan.command);
    t.notRegex(`${error?.message}`, /secret/);
    t.is(error?.remedy, "run it by hand to see why");
  });
}

test("the hint how to install it is the remedy", async (t) => {
  const plan = plugin("process.exit(1)", { installHint: "apt install login" });
  await t.throwsAsync(runCredentialPlugin(plan, cluster, null), {
    instanceOf: KubeConfigError,
    message: /ended with 1/,
  });
  const error = await runCredentialPlugin(plan, cluster, null).catch((failure: unknown) => failure);
  t.is((error as KubeConfigError).remedy, "apt install login");
});
