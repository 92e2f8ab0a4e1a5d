import type { TLSSocket } from "node:tls";
import test, { type ExecutionContext } from "ava";
import { AccessReader } from "../../../src/kube/access.ts";
import type { AccessPlan } from "../../../src/kube/access-plan.ts";
import { KubeClient } from "../../../src/kube/client.ts";
import { KubeConnectionError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/kinds.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { type Authority, one, two } from "./certificates.ts";
import { json, ScriptedServer } from "./scripted-server.ts";

interface Setting {
  readonly server: ScriptedServer;
  readonly client: KubeClient;
  readonly clock: ManualClock;
  readonly files: { ca: string; certificate: string; key: string };
}

const node = { metadata: { name: "node-1" } };
const get = ({ client }: Setting) => client.get(kinds.nodes, { name: "node-1" });

/** A server that asks for client certificates of the same authority, and a client whose files are of `files`. */
async function connected(
  t: ExecutionContext,
  authority: Authority,
  files: Authority,
  changes: Partial<AccessPlan> = {},
): Promise<Setting> {
  const server = new ScriptedServer({ ...tlsOf(authority), requestCert: true, rejectUnauthorized: true });
  server.will(json(node));
  const address = await server.start(t);
  const clock = new ManualClock();
  const setting = { ca: files.ca, certificate: files.client.certificate, key: files.client.key };
  const plan: AccessPlan = {
    origin: "test",
    server: `https://${address}`,
    serverName: null,
    insecure: false,
    ca: { path: "ca" },
    certificate: { path: "certificate" },
    key: { path: "key" },
    token: null,
    exec: null,
    namespace: { text: "default" },
    ...changes,
  };
  const access = new AccessReader({
    plan: async () => plan,
    readFile: async (path) => setting[path as keyof typeof setting],
    plugin: async () => t.fail() as never,
    clock,
  });
  const client = new KubeClient({ access, clock, userAgent: "tandem-test/1" });
  t.teardown(() => client.close());
  return { server, client, clock, files: setting };
}

function tlsOf({ ca, server }: Authority) {
  return { ca, cert: server.certificate, key: server.key };
}

test("the certificate of the file is shown, and the server's is checked by the authority of the file", async (t) => {
  const setting = await connected(t, one, one);
  let shown = "";
  setting.server.will((response, asked) => {
    shown = String((response.req.socket as TLSSocket).getPeerCertificate().subject.CN);
    json(node)(response, asked);
  });
  await get(setting);
  await get(setting);
  t.is(shown, "client one");
});

test("a server of another authority is not talked to; with the new authority's file it is, at the next request", async (t) => {
  const setting = await connected(t, two, one);
  const error = await t.throwsAsync(get(setting), { instanceOf: KubeConnectionError, code: "KUBE_CERTIFICATE" });
  t.regex(error?.remedy ?? "", /certificate authority/);
  t.is(setting.server.asked.length, 0, "no token was sent to it");
  setting.files.ca = two.ca;
  setting.files.certificate = two.client.certificate;
  setting.files.key = two.client.key;
  await get(setting);
  t.is(setting.server.asked.length, 1);
});

test("certificates that rotate while a watch runs: new requests take new connections, the watch ends by itself", async (t) => {
  const setting = await connected(t, one, one);
  const { server, client, clock, files } = setting;
  let end: () => void = () => undefined;
  server.will((response) => {
    response.flushHeaders();
    end = () => response.end();
  });
  server.will(json(node));
  await get(setting);
  const watch = await client.watch(kinds.nodes, { resourceVersion: "1", timeoutSeconds: 40, silenceMs: 55_000 });
  const read = watch.events[Symbol.asyncIterator]().next();
  // Another chain, as after a renewal.
  files.certificate = one.client.certificate + one.ca;
  await clock.advance(10_000);
  const before = server.connections;
  await get(setting);
  t.is(server.connections, before + 1);
  end();
  t.true((await read).done);
});

test("a certificate without its key yet changes nothing until the key is there", async (t) => {
  const setting = await connected(t, one, one);
  await get(setting);
  setting.files.certificate = two.client.certificate;
  await setting.clock.advance(10_000);
  await get(setting);
  t.regex(setting.client.accessProblem ?? "", /do not fit together/);
  setting.files.certificate = one.client.certificate;
  await setting.clock.advance(10_000);
  await get(setting);
  t.is(setting.client.accessProblem, null);
});

test("the name of the kubeconfig is the one that the server's certificate must have", async (t) => {
  await t.notThrowsAsync(get(await connected(t, one, one, { serverName: "kubernetes" })));
  const other = await connected(t, one, one, { serverName: "other.test" });
  await t.throwsAsync(get(other), { instanceOf: KubeConnectionError, code: "KUBE_CERTIFICATE" });
});

test("insecure-skip-tls-verify takes any certificate", async (t) => {
  await t.notThrowsAsync(get(await connected(t, one, one, { ca: null, insecure: true })));
});
