import { createServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import test, { type ExecutionContext } from "ava";
import { kubeletContainerSchema } from "../../../../src/lab/kubelet/pod.ts";
import { runProbe } from "../../../../src/lab/kubelet/probe-run.ts";
import { probeSchema, ProbeVerdict } from "../../../../src/lab/kubelet/probe-spec.ts";

const never = new AbortController().signal;

async function listening(t: ExecutionContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** What a probe of a container with one port named "http" gives. */
async function probed(port: number, probe: object, exec: () => Promise<number> = async () => 0) {
  const container = kubeletContainerSchema.parse({ name: "main", ports: [{ name: "http", containerPort: port }] });
  return (await runProbe(probeSchema.parse(probe), { ip: "127.0.0.1", container, exec }, never)).ok;
}

test("a probe that says little has the API's defaults", (t) => {
  const { httpGet, ...times } = probeSchema.parse({ httpGet: { port: "http" } });
  t.like(httpGet, { path: "/", scheme: "HTTP", host: undefined });
  t.deepEqual(times, {
    initialDelaySeconds: 0,
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
  });
});

test("a verdict changes after as many equal results in a row as its thresholds say", (t) => {
  const verdict = new ProbeVerdict({ successThreshold: 2, failureThreshold: 3 }, false);
  const seen = [true, true, false, false, true, false, false, false, true, true].map((result) => {
    verdict.take(result);
    return verdict.ok;
  });
  t.deepEqual(seen, [false, true, true, true, true, true, true, false, false, true]);
});

test("httpGet asks the named port of the pod's address for the path, with the headers; 200 to 399 is a success", async (t) => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers["x-probe"]} ${request.headers["user-agent"]?.split("/")[0]}`);
    response.statusCode = Number(request.url?.slice(1));
    response.end("body");
  });
  const port = await listening(t, server);
  const get = (path: string) => ({ httpGet: { port: "http", path, httpHeaders: [{ name: "X-Probe", value: "1" }] } });
  for (const [status, ok] of [
    [200, true],
    [302, true],
    [399, true],
    [400, false],
    [503, false],
  ] as const)
    t.is(await probed(port, get(`/${status}`)), ok, String(status));
  t.is(asked[0], "/200 1 kube-probe");
  t.false(await probed(port, { httpGet: { port: "admin" } }), "a port of a name that the container does not have");
});

test("a server that accepts and says nothing fails httpGet after its timeout, and passes tcpSocket; a closed port fails both", async (t) => {
  const server = createTcpServer((socket) => socket.on("error", () => {}));
  const port = await listening(t, server);
  t.false(await probed(port, { httpGet: { port }, timeoutSeconds: 0.05 }));
  t.true(await probed(port, { tcpSocket: { port: "http" } }));
  const closed = createTcpServer();
  const free = await listening(t, closed);
  await new Promise((resolve) => closed.close(resolve));
  t.false(await probed(free, { httpGet: { port: free } }));
  t.false(await probed(free, { tcpSocket: { port: free } }));
});

test("exec succeeds with exit code 0, and a command that cannot be started is a failure", async (t) => {
  const exec = { exec: { command: ["true"] } };
  t.true(await probed(80, exec, async () => 0));
  t.false(await probed(80, exec, async () => 1));
  t.false(
    await probed(80, exec, async () => {
      throw new Error("no such file");
    }),
  );
});
