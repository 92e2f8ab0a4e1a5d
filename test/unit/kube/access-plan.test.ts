import test from "ava";
import { inClusterPlan, parseKubeconfig } from "../../../src/kube/access-plan.ts";
import { KubeConfigError } from "../../../src/kube/errors.ts";

const path = "/etc/tandem/kubeconfig";
const base64 = (text: string) => Buffer.from(text).toString("base64");

/** A kubeconfig with one of each; lines are YAML flow maps. */
function config(cluster: string, user: string, context = "cluster: c, user: u"): string {
  return `
apiVersion: v1
kind: Config
preferences: {}
current-context: here
contexts: [{ name: here, context: { ${context} } }, { name: there, context: { cluster: gone, user: u } }]
clusters: [{ name: c, cluster: { ${cluster} } }]
users: [{ name: u, user: { ${user} } }]
`;
}

const server = "server: https://api.test:6443";

test("a kubeconfig of today's tools: data in the file, and nothing else said", (t) => {
  const content = config(
    `${server}/, certificate-authority-data: ${base64("CA")}`,
    `client-certificate-data: ${base64("CERT")}, client-key-data: ${base64("KEY")}`,
  );
  t.deepEqual(parseKubeconfig(content, path), {
    origin: path,
    server: "https://api.test:6443",
    serverName: null,
    insecure: false,
    ca: { text: "CA" },
    certificate: { text: "CERT" },
    key: { text: "KEY" },
    token: null,
    exec: null,
    namespace: { text: "default" },
  });
});

test("files are named relative to the folder of the kubeconfig; data counts before a file, a token's file before the token", (t) => {
  const plan = parseKubeconfig(
    config(
      `${server}, certificate-authority: pki/ca.crt, tls-server-name: kubernetes`,
      `client-certificate: /var/c.pem, client-key: ../k.pem, client-key-data: ${base64("KEY")}, token: old, tokenFile: t`,
      "cluster: c, user: u, namespace: shop",
    ),
    path,
  );
  t.deepEqual(plan.ca, { path: "/etc/tandem/pki/ca.crt" });
  t.deepEqual(plan.certificate, { path: "/var/c.pem" });
  t.deepEqual(plan.key, { text: "KEY" });
  t.deepEqual(plan.token, { path: "/etc/tandem/t" });
  t.is(plan.serverName, "kubernetes");
  t.deepEqual(plan.namespace, { text: "shop" });
});

test("a credential plugin: a bare name is of PATH, one with a slash below the kubeconfig", (t) => {
  const exec = (command: string) =>
    parseKubeconfig(
      config(
        server,
        `exec: { apiVersion: client.authentication.k8s.io/v1, command: ${command}, args: [get-token], env: [{ name: A, value: b }],
          provideClusterInfo: true, interactiveMode: IfAvailable, installHint: install it }`,
      ),
      path,
    ).exec;
  t.deepEqual(exec("aws"), {
    apiVersion: "client.authentication.k8s.io/v1",
    command: "aws",
    args: ["get-token"],
    env: { A: "b" },
    provideClusterInfo: true,
    installHint: "install it",
  });
  t.is(exec("./bin/login")?.command, "/etc/tandem/bin/login");
});

const refused: readonly (readonly [string, string, RegExp])[] = [
  [`${server}, proxy-url: "http://p:3128"`, "", /clusters "c": proxy-url is not supported/],
  [server, "auth-provider: { name: gcp }", /users "u": auth-provider is not supported/],
  [server, "username: admin, password: secret", /users "u": username is not supported/],
  [server, "as: root", /users "u": as is not supported/],
  [server, "as-groups: [system:masters]", /users "u": as-groups is not supported/],
  [server, "client-certificate-data: Q0VSVA==", /users "u": a client certificate needs its key/],
  [server, "client-key: k.pem", /a key its certificate/],
  [`${server}, insecure-skip-tls-verify: true, certificate-authority: ca.crt`, "", /exclude each other/],
  ["server: api.test", "", /clusters "c"\.server: /],
  [`${server}, certificate-authority-data: "%%%"`, "", /clusters "c"\.certificate-authority-data: /],
  [server, "exec: { apiVersion: client.authentication.k8s.io/v1alpha1, command: x }", /users "u"\.exec\.apiVersion: /],
  [
    server,
    "exec: { apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always }",
    /users "u"\.exec\.interactiveMode: /,
  ],
];

for (const [cluster, user, message] of refused) {
  test(`refused by name: ${cluster.replace(server, "")} ${user}`, (t) => {
    const error = t.throws(() => parseKubeconfig(config(cluster, user), path), {
      instanceOf: KubeConfigError,
      message,
    });
    t.is(error?.code, "KUBE_CONFIG");
    t.is(error?.object, path);
    t.notRegex(`${error?.message}${error?.remedy}`, /secret/, "never what may be a secret");
  });
}

test("a context, cluster or user that is missing is named, with those that are there", (t) => {
  const content = config(server, "token: x");
  t.throws(() => parseKubeconfig(content, path, "away"), {
    message: 'contexts: there is no "away" (there are: here, there)',
  });
  t.throws(() => parseKubeconfig(content, path, "there"), { message: 'clusters: there is no "gone" (there are: c)' });
  const none = content.replace("current-context: here", "");
  t.throws(() => parseKubeconfig(none, path), { message: /there is no current context/ });
  t.is(parseKubeconfig(none, path, "here").server, "https://api.test:6443");
});

test("what is no kubeconfig is refused and not repeated", (t) => {
  t.throws(() => parseKubeconfig("a: [", path), { instanceOf: KubeConfigError, message: /it is no YAML/ });
  t.throws(() => parseKubeconfig("token", path), { instanceOf: KubeConfigError });
  t.throws(() => parseKubeconfig("", path), { instanceOf: KubeConfigError });
});

test("a pod's access: its service's address, IPv6 in brackets, or the server that it is told", (t) => {
  const env = { KUBERNETES_SERVICE_HOST: "fd00:96::1", KUBERNETES_SERVICE_PORT: "443" };
  const plan = inClusterPlan(env);
  t.is(plan.server, "https://[fd00:96::1]:443");
  t.deepEqual(plan.token, { path: "/var/run/secrets/kubernetes.io/serviceaccount/token" });
  t.is(inClusterPlan({ ...env, KUBERNETES_SERVICE_HOST: "10.96.0.1" }).server, "https://10.96.0.1:443");
  t.is(inClusterPlan({}, "https://10.0.0.7:6443/").server, "https://10.0.0.7:6443");
  t.throws(() => inClusterPlan({}), { instanceOf: KubeConfigError, message: /this is no pod/ });
});
