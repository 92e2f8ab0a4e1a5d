import { stat, writeFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { CniRequest } from "../../../src/api/dto.ts";
import { FakeAgent, fakeAgent, status, temporaryFolder } from "../../support/fake-agent.ts";

function deferred() {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve: () => resolve() };
}

interface Answer {
  readonly code: number;
  readonly body: unknown;
}

function ask(agent: FakeAgent, method: string, path: string, body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: agent.socket, method, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ code: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) as unknown }),
      );
    });
    call.on("error", reject);
    call.end(body);
  });
}

const cniRequest: CniRequest = {
  command: "ADD",
  containerId: "c1",
  netns: "/run/netns/x",
  ifname: "eth0",
  args: "",
  path: "",
  config: "{}",
};

const errorCode = (answer: Answer) => (answer.body as { readonly error?: { readonly code: string } }).error?.code;

async function refuses(
  t: ExecutionContext,
  agent: FakeAgent,
  call: [string, string, string?],
  code: number,
  error: string,
) {
  const answer = await ask(agent, ...call);
  t.is(answer.code, code, call.join(" "));
  t.is(errorCode(answer), error);
}

test("answers on a socket that only its owner may open", async (t) => {
  const agent = await fakeAgent(t);
  t.is((await stat(agent.socket)).mode & 0o777, 0o600);
  t.deepEqual(await ask(agent, "GET", "/v1/status"), { code: 200, body: status });
  t.like(await ask(agent, "GET", "/v1/endpoints/7"), { code: 200, body: { pod: "shop/web-0" } });
});

test("what cannot be answered is refused with a code, a message and a remedy", async (t) => {
  const agent = await fakeAgent(t);
  await refuses(t, agent, ["GET", "/v1/nothing"], 404, "NOT_FOUND");
  await refuses(t, agent, ["GET", "/v1/endpoints/8"], 404, "NOT_FOUND");
  await refuses(t, agent, ["DELETE", "/v1/status"], 405, "METHOD_NOT_ALLOWED");
  await refuses(t, agent, ["GET", "/v1/endpoints/%zz"], 400, "BAD_REQUEST");
  await refuses(t, agent, ["GET", "/v1/events?type=nothing"], 400, "BAD_REQUEST");
  await refuses(t, agent, ["POST", "/v1/cni", "{"], 400, "BAD_REQUEST");
  await refuses(t, agent, ["POST", "/v1/cni", "null"], 400, "BAD_REQUEST");
  await refuses(t, agent, ["POST", "/v1/cni", JSON.stringify({ command: "ADD" })], 400, "BAD_REQUEST");
  await refuses(t, agent, ["POST", "/v1/cni", "x".repeat((1 << 20) + 1)], 413, "BODY_TOO_LARGE");
});

test("a trace is asked with both ends, and nothing that it does not know", async (t) => {
  const agent = await fakeAgent(t);
  const trace = "/v1/policy/trace";
  t.like(await ask(agent, "GET", `${trace}?from=shop%2Fweb&to=10.0.0.1&port=80&family=4`), {
    code: 200,
    body: { title: "shop/web -> 10.0.0.1 TCP 80" },
  });
  for (const query of ["", "?from=a", "?to=a", "?from=a&to=b&prot=80", "?from=a&to=b&family=5"]) {
    await refuses(t, agent, ["GET", trace + query], 400, "BAD_REQUEST");
  }
});

test("a failing answer is the caller's error 500, and the next request is served", async (t) => {
  const agent = await fakeAgent(t, {
    queries: {
      routes: () => {
        throw new Error("no routes today");
      },
    },
  });
  await refuses(t, agent, ["GET", "/v1/routes"], 500, "INTERNAL");
  t.is(agent.errors.length, 1);
  t.is((await ask(agent, "GET", "/v1/status")).code, 200);
});

test("only root's CNI requests are taken", async (t) => {
  const seen: CniRequest[] = [];
  const cni = async (request: CniRequest) => {
    seen.push(request);
    return { exitCode: 0, output: "done" } as const;
  };
  const body = JSON.stringify(cniRequest);
  const stranger = await fakeAgent(t, { cni, peerUid: () => 1000 });
  await refuses(t, stranger, ["POST", "/v1/cni", body], 403, "NOT_ROOT");
  t.deepEqual(seen, []);
  const root = await fakeAgent(t, { cni });
  t.deepEqual(await ask(root, "POST", "/v1/cni", body), { code: 200, body: { exitCode: 0, output: "done" } });
  t.deepEqual(seen, [cniRequest]);
});

test("a plugin that goes away aborts its request", async (t) => {
  const aborted = deferred();
  const agent = await fakeAgent(t, {
    cni: (_request, signal) => {
      signal.addEventListener("abort", () => aborted.resolve());
      call.destroy();
      return aborted.promise.then(() => ({ exitCode: 1, output: "" }));
    },
  });
  const call = request({ socketPath: agent.socket, method: "POST", path: "/v1/cni" });
  call.on("error", () => undefined);
  call.end(JSON.stringify(cniRequest));
  await t.notThrowsAsync(aborted.promise);
});

test("stop does not wait for ever for a request under way", async (t) => {
  const started = deferred();
  const agent = await fakeAgent(t, {
    cni: () => {
      started.resolve();
      return new Promise(() => undefined);
    },
  });
  const answer = ask(agent, "POST", "/v1/cni", JSON.stringify(cniRequest));
  answer.catch(() => undefined);
  await started.promise;
  await agent.server.stop();
  await t.throwsAsync(answer);
});

test("a stale socket file is replaced, a live one and a plain file are not", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "agent.sock");
  // A process that was killed leaves its file behind: closing the handle alone does the same.
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(path, resolve));
  const live = new FakeAgent(path, {});
  await t.throwsAsync(live.server.start(), { message: /another agent answers/ });
  await new Promise((resolve) => dead.close(resolve));

  const file = join(folder, "file");
  await writeFile(file, "");
  await t.throwsAsync(new FakeAgent(file, {}).server.start(), { message: /not a socket/ });
  await t.throwsAsync(new FakeAgent(join(folder, "x".repeat(120)), {}).server.start(), { message: /longer than 107/ });
});

test("a very long list is whole, and others are answered while it is written", async (t) => {
  const row = { address: "10.0.0.1", identity: 256, labels: ["k8s:app=web"] };
  const rows = Array.from({ length: 30_000 }, (_, i) => ({ ...row, identity: i }));
  const agent = await fakeAgent(t, { queries: { ipcache: async () => rows } });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const call = request({ socketPath: agent.socket, path: "/v1/bpf/ipcache", agent: false }, resolve);
    call.on("error", reject);
    call.end();
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    // A reader that takes one piece and no more: the list is larger than what lies between.
    if (chunks.length === 0) t.is((await ask(agent, "GET", "/v1/version")).code, 200);
    chunks.push(chunk as Buffer);
  }
  t.is(Buffer.concat(chunks).toString(), JSON.stringify(rows));
});

test("a reader that leaves in the middle of a long list is no failure", async (t) => {
  const rows = Array.from({ length: 30_000 }, (_, identity) => ({ address: "10.0.0.1", identity, labels: [] }));
  const agent = await fakeAgent(t, { queries: { ipcache: async () => rows } });
  await new Promise<void>((resolve) => {
    const call = request({ socketPath: agent.socket, path: "/v1/bpf/ipcache", agent: false }, (response) => {
      response.once("data", () => {
        call.destroy();
        resolve();
      });
    });
    call.on("error", () => undefined);
    call.end();
  });
  t.is((await ask(agent, "GET", "/v1/version")).code, 200);
  t.deepEqual(agent.errors, []);
});

test("options of an endpoint are set by root, with a body that says what, for an endpoint that is there", async (t) => {
  const asked: unknown[] = [];
  const agent = await fakeAgent(t, {
    configure: async (endpoint, options) => {
      asked.push([endpoint, options]);
      return endpoint === "shop/web-0";
    },
  });
  const path = "/v1/endpoints/shop%2Fweb-0/config";
  for (const policyAuditMode of [true, false, null]) {
    const { code, body } = await ask(agent, "POST", path, JSON.stringify({ policyAuditMode }));
    t.is(code, 200);
    t.like(body, { id: 7, pod: "shop/web-0", policyAuditMode: { active: false, own: null } });
    t.deepEqual(asked.pop(), ["shop/web-0", { policyAuditMode }]);
  }
  await refuses(t, agent, ["POST", "/v1/endpoints/9/config", '{"policyAuditMode":true}'], 404, "NOT_FOUND");
  asked.pop();
  for (const body of ["", "{}", "[]", '"x"', '{"policyAuditMode":"true"}', '{"policyAuditMode":true,"debug":true}']) {
    await refuses(t, agent, ["POST", path, body], 400, "BAD_REQUEST");
  }
  const other = await fakeAgent(t, { peerUid: () => 1000, configure: async () => t.fail() === undefined });
  await refuses(t, other, ["POST", path, '{"policyAuditMode":true}'], 403, "NOT_ROOT");
  t.deepEqual(asked, []);
});
