import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { CliError } from "../../../src/cli/errors.ts";
import type { EndpointDto, StatusDto } from "../../../src/api/dto.ts";
import type { ResolvedRules } from "../../../src/model/policy-reports.ts";
import { drop, fakeAgent, status, temporaryFolder } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const answering = (t: ExecutionContext, answer: StatusDto) => fakeAgent(t, { queries: { status: async () => answer } });

test("status of a healthy node exits with 0 and says so", async (t) => {
  const { socket } = await fakeAgent(t);
  const { output, exitCode } = await runCli(["status", "--socket", socket]);
  t.is(exitCode, 0);
  t.regex(output, /Agent:\s+Ok, ready in 321 ms/);
  t.regex(output, /policy: no rule allows it\s+ingress\s+5\s+300/);
});

test("status of a degraded node exits with 1 and lists each problem with its remedy", async (t) => {
  const problem = {
    code: "POLICY_PORT_RANGE",
    severity: "error",
    object: "CiliumNetworkPolicy shop/api",
    field: "spec.egress[0]",
    message: "70000 is not a port",
    remedy: "use 1-65535",
    since: "2026-11-26T12:00:00.250Z",
  } as const;
  const { socket } = await answering(t, { ...status, ok: false, problems: [problem] });
  const { output, exitCode } = await runCli(["--socket", socket, "status"]);
  t.is(exitCode, 1);
  t.regex(
    output,
    /error POLICY_PORT_RANGE: CiliumNetworkPolicy shop\/api, spec.egress\[0\]: 70000 is not a port \(since 2026-11-26T12:00:00Z\)\n\s+use 1-65535/,
  );
});

test("status prints the first problems, and all with -v", async (t) => {
  const problems = Array.from({ length: 50 }, (_, i) => ({
    code: "X",
    severity: "warning" as const,
    object: `Pod shop/p${i}`,
    field: "",
    message: "m",
    remedy: "r",
    since: "2026-11-26T12:00:00.250Z",
  }));
  const { socket } = await answering(t, { ...status, problems });
  const { output } = await runCli(["--socket", socket, "status"]);
  t.regex(output, /p19: m/);
  t.notRegex(output, /p20: m/);
  t.regex(output, /and 30 more: status -v shows all/);
  t.regex((await runCli(["--socket", socket, "status", "-v"])).output, /p49: m/);
});

test("--json prints what the API answered", async (t) => {
  const { socket } = await fakeAgent(t);
  const { output } = await runCli(["status", "--json"], { env: { TANDEM_SOCKET: socket } });
  t.deepEqual(JSON.parse(output), status);
});

test("an agent that is not there is exit code 2 and a message that names the socket", async (t) => {
  const socket = join(await temporaryFolder(t), "none.sock");
  const error = await t.throwsAsync(runCli(["status", "--socket", socket]), { instanceOf: CliError });
  t.is(error.exitCode, 2);
  t.is(error.code, "AGENT_UNREACHABLE");
  t.true(error.message.includes(socket));
});

test("what the agent refuses is exit code 1 with the agent's own words", async (t) => {
  const { socket } = await fakeAgent(t);
  const error = await t.throwsAsync(runCli(["endpoint", "get", "99", "--socket", socket]), { instanceOf: CliError });
  t.is(error.exitCode, 1);
  t.regex(error.message, /there is no endpoint 99/);
});

test("endpoint get takes a number or a pod's name", async (t) => {
  const { socket } = await fakeAgent(t);
  for (const name of ["7", "shop/web-0"]) {
    const { output } = await runCli(["endpoint", "get", name, "--json", "--socket", socket]);
    t.like(JSON.parse(output), { id: 7, pod: "shop/web-0", rules: null });
  }
});

test("endpoint get shows the verdict tables: default, ports, peers with their pods, and rules", async (t) => {
  const closedBy = ["NetworkPolicy shop/web"];
  const rules: ResolvedRules = {
    subject: "shop/web-0",
    node: "node-1",
    addresses: ["10.1.0.2"],
    identity: 256,
    labels: [],
    about: "app=web in shop",
    sharedWith: 0,
    selectedBy: closedBy,
    set: "256",
    refused: null,
    directions: [
      {
        direction: "ingress",
        default: "deny",
        closedBy,
        groups: [
          {
            group: 0,
            action: "deny",
            ports: "TCP 22; UDP 53",
            peers: [{ text: "app=api in shop", pods: ["a/1", "a/2", "a/3", "a/4"] }],
            l7: "",
            origins: ["CiliumNetworkPolicy shop/web ingressDeny[0]"],
          },
          { group: 1, action: "redirect", ports: "TCP 80", peers: [], l7: "http [{}]", origins: ["x"] },
        ],
      },
      { direction: "egress", default: "allow", closedBy: [], groups: [] },
    ],
  };
  const { socket } = await fakeAgent(t, { queries: { endpointDetails: (row) => ({ ...row, rules }) } });
  const { output } = await runCli(["endpoint", "get", "7", "--socket", socket]);
  t.regex(
    output,
    /^shop\/web-0: endpoint 7, ready, 10\.1\.0\.2, fd00::2, tdm1\nidentity 256: k8s:app=web k8s:tier=front\n/,
  );
  t.regex(output, /policy: ingress enforced, egress open\npolicy set 1 in the kernel, revision 3\n/);
  t.regex(
    output,
    /selected by NetworkPolicy shop\/web\n\nINGRESS {2}default deny \(closed by NetworkPolicy shop\/web\)\n/,
  );
  t.regex(
    output,
    /\n0 +deny +TCP 22 +app=api in shop \(a\/1, a\/2, a\/3 and 1 more\) +CiliumNetworkPolicy shop\/web ingressDeny\[0\]\n +UDP 53\n/,
  );
  t.regex(output, /\n1 +L7 +TCP 80 .*\n +if http \[\{\}\]\n/);
  t.regex(output, /\nEGRESS {2}default allow \(no policy closes it\)\nno rules\n$/);
});

test("endpoint get says of a pod that nobody knows yet that it is closed", async (t) => {
  const { socket } = await fakeAgent(t);
  const { output } = await runCli(["endpoint", "get", "7", "--socket", socket]);
  t.regex(output, /its Pod object is not known yet: it has no rules, and is closed\n$/);
});

test("the node itself has no options of its own", async (t) => {
  const { socket } = await fakeAgent(t, { configure: async () => true });
  await t.throwsAsync(runCli(["endpoint", "config", "node/node-1", "PolicyAuditMode=true", "--socket", socket]), {
    message: /node\/node-1 is no pod, and has no options of its own/,
  });
});

test("endpoint list has Cilium's columns", async (t) => {
  const { socket } = await fakeAgent(t);
  const { output } = await runCli(["endpoint", "list", "--socket", socket]);
  t.regex(output, /^ENDPOINT\s+POLICY \(ingress\)\s+POLICY \(egress\)\s+IDENTITY\s+LABELS/);
  t.regex(output, /7\s+Enabled\s+Disabled\s+256\s+k8s:app=web\s+fd00::2\s+10.1.0.2\s+ready/);
});

test("monitor prints events as they come and ends when interrupted", async (t) => {
  const agent = await fakeAgent(t);
  const interrupted = new AbortController();
  const seen = new EventTarget();
  let output = "";
  const write = (text: string) => {
    output += text;
    seen.dispatchEvent(new Event("line"));
  };
  const running = runCli(["monitor", "--type", "drop", "--socket", agent.socket], {
    write,
    signal: interrupted.signal,
  });
  while (agent.listeners.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const line = once(seen, "line");
  for (const listener of agent.listeners) listener([drop, { ...drop, type: "verdict" }]);
  await line;
  interrupted.abort();
  await running;
  t.regex(output, /xx drop denied ingress shop\/web-0 \(10.1.0.2:41000\) -> shop\/db-0 \(10.1.0.3:5432\) TCP/);
  t.notRegex(output, /verdict denied/);
});

test("version tells its own also without an agent", async (t) => {
  const { output } = await runCli(["version", "--socket", join(await temporaryFolder(t), "none")]);
  t.regex(output, /^tandem \d+\.\d+\.\d+\nagent: not reachable\n$/);
});

test("endpoint config shows and sets a pod's option, in Cilium's words too", async (t) => {
  const asked: unknown[] = [];
  const { socket } = await fakeAgent(t, {
    configure: async (endpoint, options) => {
      asked.push([endpoint, options.policyAuditMode]);
      return endpoint === "shop/web-0";
    },
  });
  const config = (...words: readonly string[]) => runCli(["endpoint", "config", ...words, "--socket", socket]);
  t.is((await config("shop/web-0")).output, "PolicyAuditMode: Disabled (the agent's setting)\n");
  t.deepEqual(asked, []);
  for (const word of [
    "PolicyAuditMode=true",
    "policyauditmode=Enabled",
    "PolicyAuditMode=false",
    "PolicyAuditMode=default",
  ])
    await config("shop/web-0", word);
  t.deepEqual(
    asked.map((each) => (each as readonly unknown[])[1]),
    [true, true, false, null],
  );
  t.deepEqual(JSON.parse((await config("shop/web-0", "--json")).output), { active: false, own: null });
  for (const word of ["PolicyAuditMode", "PolicyAuditMode=perhaps", "Debug=true", "=true"]) {
    await t.throwsAsync(config("shop/web-0", word), { instanceOf: CliError, code: "ENDPOINT_OPTION" }, word);
  }
  await t.throwsAsync(config("9", "PolicyAuditMode=true"), { code: "NOT_FOUND", message: /POST .*no endpoint 9/ });
});

test("endpoint list tells where policy is only audited", async (t) => {
  const plain = await fakeAgent(t);
  t.regex((await runCli(["endpoint", "list", "--socket", plain.socket])).output, /7 +Enabled +Disabled +256/);
  const row = JSON.parse(
    (await runCli(["endpoint", "get", "7", "--json", "--socket", plain.socket])).output,
  ) as EndpointDto;
  const audited = await fakeAgent(t, {
    queries: { endpoints: () => [{ ...row, policyAuditMode: { active: true, own: true } }] },
  });
  t.regex(
    (await runCli(["endpoint", "list", "--socket", audited.socket])).output,
    /7 +Enabled \(Audit\) +Disabled \(Audit\) +256/,
  );
  t.is((await runCli(["endpoint", "config", "7", "--socket", audited.socket])).output, "PolicyAuditMode: Enabled\n");
});

test("fqdn lists names with their addresses, and cleans those of a pattern or all", async (t) => {
  const cleaned: (string | null)[] = [];
  const { socket } = await fakeAgent(t, {
    names: {
      cache: () => [
        {
          name: "api.test",
          pod: "shop/api-0",
          addresses: [
            { address: "192.0.2.1", ttlSeconds: 59, source: "lookup" },
            { address: "2001:db8::1", ttlSeconds: 0, source: "connection" },
          ],
        },
      ],
      names: () => [
        {
          kind: "name",
          text: "api.test",
          policySets: ["256"],
          resolved: true,
          names: ["api.test"],
          addresses: 2,
          answered: null,
          error: "no DNS server answered",
        },
      ],
      clean: (pattern) => cleaned.push(pattern),
    },
  });
  const cache = await runCli(["fqdn", "cache", "list", "--socket", socket]);
  t.regex(cache.output, /shop\/api-0\s+lookup\s+api\.test\s+59s\s+192\.0\.2\.1/);
  t.regex(cache.output, /shop\/api-0\s+connection\s+api\.test\s+0s\s+2001:db8::1/);
  const names = await runCli(["fqdn", "names", "--socket", socket]);
  t.regex(names.output, /api\.test\s+name\s+1\s+2\s+256\s+not yet\s+no DNS server answered/);
  t.is((await runCli(["fqdn", "cache", "clean", "--socket", socket])).output, "forgotten: 1 address\n");
  const some = await runCli(["fqdn", "cache", "clean", "-p", "*.test", "--json", "--socket", socket]);
  t.deepEqual(JSON.parse(some.output), { forgotten: 2 });
  t.deepEqual(cleaned, [null, "*.test"]);
});

test("who is not root may not clean the cache of names", async (t) => {
  const { socket } = await fakeAgent(t, { peerUid: () => 1000, names: { clean: () => t.fail() as unknown as number } });
  await t.throwsAsync(runCli(["fqdn", "cache", "clean", "--socket", socket]), {
    instanceOf: CliError,
    code: "NOT_ROOT",
  });
});

test("--version tells the version of this program without an agent", async (t) => {
  const main = join(import.meta.dirname, "../../../src/cli/main.ts");
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, "../../../package.json"), "utf8")) as {
    readonly version: string;
  };
  const { stdout } = await promisify(execFile)(process.execPath, ["--import=tsx", main, "--version"]);
  t.is(stdout, `${version}\n`);
});
