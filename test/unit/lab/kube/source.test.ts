import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { stringify } from "yaml";
import { parseKubeconfig } from "../../../../src/kube/index.ts";
import { kubeconfigFor } from "../../../../src/lab/kube/kubeconfig.ts";
import { startRelay } from "../../../../src/lab/kube/relay.ts";
import { apiServerSource } from "../../../../src/lab/kube/source.ts";

const here = new URL(import.meta.url).pathname;

test("an API server is a script, a URL with credentials, or what the environment names; without any, the lab says what it needs", async (t) => {
  const script = { kind: "script", path: process.execPath };
  t.deepEqual(await apiServerSource(process.execPath, null, {}), script as never);
  t.deepEqual(await apiServerSource(true, null, { TANDEM_KUBE_APISERVER: process.execPath }), script as never);
  t.deepEqual(await apiServerSource("https://10.0.0.1:6443", here, {}), {
    kind: "running",
    kubeconfig: here,
    server: "https://10.0.0.1:6443",
  });
  t.deepEqual(await apiServerSource(true, here, {}), { kind: "running", kubeconfig: here, server: null });
  for (const [given, kubeconfig, message] of [
    [true, null, /no API server is given.*TANDEM_KUBE_APISERVER/],
    ["https://10.0.0.1", null, /a URL needs credentials/],
    ["/no/such/script", null, /no program/],
    [process.execPath, here, /a script writes its own/],
  ] as const)
    await t.throwsAsync(apiServerSource(given, kubeconfig, {}), { message }, String(given));
});

function kubeconfig(cluster: object): string {
  return stringify({
    clusters: [{ name: "c", cluster: { "certificate-authority": "pki/ca.crt", ...cluster } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u", namespace: "shop" } }],
    "current-context": "x",
    users: [{ name: "u", user: { token: "t" } }],
  });
}

test("a kubeconfig for nodes has another address, and checks the certificate for the name that it is for", (t) => {
  const moved = (cluster: object) =>
    parseKubeconfig(
      kubeconfigFor(kubeconfig(cluster), "/etc/kube/config", "https://172.30.0.253:26400"),
      "/lab/config",
    );
  t.like(moved({ server: "https://127.0.0.1:6443" }), {
    server: "https://172.30.0.253:26400",
    // SNI takes no addresses.
    serverName: "kubernetes.default.svc",
    ca: { path: "/etc/kube/pki/ca.crt" },
    token: { text: "t" },
    namespace: { text: "shop" },
  });
  t.is(moved({ server: "https://[::1]:6443" }).serverName, "kubernetes.default.svc");
  t.is(moved({ server: "https://api.example.com" }).serverName, "api.example.com");
  t.is(moved({ server: "https://10.0.0.1", "tls-server-name": "api" }).serverName, "api");
  const own = parseKubeconfig(
    kubeconfigFor(kubeconfig({ server: "https://127.0.0.1:6443" }), "/etc/kube/config", null),
    "x",
  );
  t.like(own, { server: "https://127.0.0.1:6443", serverName: null });
});

test("two relays carry a connection through a unix socket, both ways, and each end of it on its own", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-relay-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  // Answers when it has heard the end.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let heard = "";
    socket.on("data", (chunk) => {
      heard += chunk.toString();
    });
    socket.on("end", () => socket.end(`heard ${heard}`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => void server.close());
  const path = join(folder, "gate.sock");
  const { port } = server.address() as AddressInfo;
  await startRelay({ path }, { host: "127.0.0.1", port }, stop.signal);
  const outer = createServer();
  outer.listen(0, "127.0.0.1");
  await once(outer, "listening");
  const free = (outer.address() as AddressInfo).port;
  await new Promise((resolve) => outer.close(resolve));
  await startRelay({ host: "127.0.0.1", port: free }, { path }, stop.signal);

  const socket = connect({ port: free, host: "127.0.0.1", allowHalfOpen: true });
  socket.end("a word");
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  t.is(answer, "heard a word");
});

test("a relay whose other end is not there ends the connection, and goes on", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-relay-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const path = join(folder, "gate.sock");
  await startRelay({ path }, { path: join(folder, "nobody.sock") }, stop.signal);
  for (let i = 0; i < 2; i++) {
    const socket = connect(path);
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "close");
  }
  t.pass();
});
