/** Operators and allocators as they are, over HTTP, on the API server of the tests. */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { customKinds } from "../../../src/kube-objects/index.ts";
import { definitionsStorage } from "../../support/api-server/resources.ts";
import { TestApiServer } from "../../support/api-server/server.ts";
import { temporaryFolder } from "../../support/fake-agent.ts";
import { operatorScenario, type Place, startAllocator, startOperator, until } from "../../support/operator-scenario.ts";

async function place(t: ExecutionContext): Promise<Place & { readonly server: TestApiServer }> {
  t.timeout(600_000);
  const folder = await temporaryFolder(t);
  const server = new TestApiServer();
  await server.start();
  t.teardown(() => server.stop());
  const kubeconfig = join(folder, "kubeconfig");
  const config = {
    "current-context": "test",
    clusters: [{ name: "test", cluster: { server: server.url } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    users: [{ name: "test", user: {} }],
  };
  await writeFile(kubeconfig, JSON.stringify(config));
  return { kubeconfig, server, teardown: (work) => t.teardown(work) };
}

test("two operators and two nodes: one leads, labels have one number, and what is unused goes", async (t) => {
  await operatorScenario(t, await place(t));
});

test("many nodes that meet the same labels at one API server agree, and each set has one object", async (t) => {
  const at = await place(t);
  const operator = await startOperator(at, "operator");
  await until("definitions", () => at.server.store.objects(definitionsStorage).size === customKinds.length);
  // It would take these for unused.
  await operator.stop();
  const nodes = ["n1", "n2", "n3", "n4"].map((name) => startAllocator(at, name));
  const keys = Array.from({ length: 25 }, (_, n) => `k8s:app=app-${n}\nk8s:io.kubernetes.pod.namespace=shop`);
  const answers = await Promise.all(nodes.map((node) => Promise.all(keys.map((key) => node.number(key)))));
  for (const numbers of answers) t.deepEqual(numbers, answers[0] ?? []);
  t.is(new Set(answers[0]).size, keys.length);
});

test("the process takes its settings from a folder, leads, and gives the lease back when it is told to end", async (t) => {
  const at = await place(t);
  const folder = await temporaryFolder(t);
  const settings = { kubeconfig: at.kubeconfig, "lease-namespace": "kube-system", healthAddress: join(folder, "sock") };
  for (const [name, value] of Object.entries(settings)) await writeFile(join(folder, name), `${value}\n`);
  const main = join(import.meta.dirname, "../../../src/operator/main.ts");
  const child = spawn(process.execPath, ["--import=tsx", main, "--config", folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  let log = "";
  child.stdout.on("data", (text: Buffer) => {
    log += text.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const holder = () => {
    const lease = at.server.store.get("leases.coordination.k8s.io", "kube-system/tandem-operator");
    return (lease?.spec as { readonly holderIdentity?: string } | undefined)?.holderIdentity;
  };
  await until("a holder", () => holder());
  await until("definitions", () => at.server.store.objects(definitionsStorage).size === customKinds.length);
  child.kill("SIGTERM");
  t.is(await ended, 0);
  t.is(holder(), "");
  const lines = log
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { readonly msg: string }).msg);
  for (const message of ["standing for election", "leading", "installed", "stopping", "not leading any more"]) {
    t.true(lines.includes(message), message);
  }
});

test("figures alone are at the address for Prometheus, and an address that cannot be had is a problem, no more", async (t) => {
  const at = await place(t);
  const operator = await startOperator(at, "operator", { metricsAddress: "127.0.0.1:0" });
  await until("a leader", () => operator.status().election.leading);
  const told = await fetch(`http://127.0.0.1:${operator.metricsPort}/metrics`);
  const lines = (await told.text()).split("\n");
  t.true(lines.includes("tandem_operator_leading 1"));
  t.true(lines.includes("# TYPE tandem_operator_nodes_written_total counter"));
  t.is((await fetch(`http://127.0.0.1:${operator.metricsPort}/status`)).status, 404);
  const openMetrics = { headers: { accept: "application/openmetrics-text" } };
  t.regex(await (await fetch(`http://127.0.0.1:${operator.metricsPort}/metrics`, openMetrics)).text(), /# EOF\n$/);

  const second = await startOperator(at, "second", { metricsAddress: `127.0.0.1:${operator.metricsPort}` });
  t.is(second.metricsPort, null);
  t.deepEqual(
    second.status().problems.map(({ code }) => code),
    ["METRICS_ADDRESS"],
  );
  t.is((await fetch(`http://127.0.0.1:${second.healthPort}/healthz`)).status, 200);
});

test("an operator whose API server is away starts, says so, and leads when it comes", async (t) => {
  const at = await place(t);
  await at.server.stop();
  const operator = await startOperator(at, "operator");
  await until("a problem", () => operator.status().election.problem);
  t.is((await fetch(`http://127.0.0.1:${operator.healthPort}/healthz`)).status, 200);
  t.false(operator.status().election.leading);
  await at.server.start();
  await until("a leader", () => operator.status().election.leading);
  t.is(operator.status().election.problem, null);
});
