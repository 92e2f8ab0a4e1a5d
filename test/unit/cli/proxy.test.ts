import test from "ava";
import type { ProxyControl } from "../../../src/api/queries.ts";
import { fakeAgent } from "../../support/fake-agent.ts";
import { runCli } from "../../support/run-cli.ts";

const proxy: ProxyControl = {
  isOn: true,
  accept: (socket) => void socket.end(),
  proxy: () => ({
    mode: "on",
    generation: 4,
    ruleSets: 1,
    instances: [
      {
        version: "0.1.0",
        pid: 4711,
        started: Date.UTC(2026, 0, 2),
        state: "active",
        connectedSince: Date.UTC(2026, 0, 2),
        generation: 4,
        stats: null,
      },
    ],
  }),
  rules: () => ({
    rules: [
      {
        ruleSet: 1,
        protocol: "http",
        text: 'http [{"method":"GET"}]',
        usedBy: ["ingress of policy set 3"],
        requests: 12,
        latencyMean: 1_500,
        latencyMax: 20_000,
        refused: null,
      },
    ],
    denied: [{ protocol: "http/1.1", direction: "ingress", source: 300, destination: 301, requests: 5 }],
  }),
};

const run = async (socket: string, ...words: readonly string[]) =>
  (await runCli(words, { env: { TANDEM_SOCKET: socket } })).output;

test("proxy status tells who is there; what a proxy has not said yet is unknown", async (t) => {
  const { socket } = await fakeAgent(t, { proxy });
  const text = await run(socket, "proxy", "status");
  t.regex(text, /^l7Proxy on, 1 sets of rules, generation 4\n/);
  t.regex(text, /4711 +active +0\.1\.0 +2026-01-02T00:00:00\.000Z +4 +\? /);
  t.deepEqual(JSON.parse(await run(socket, "proxy", "status", "--json")), proxy.proxy());
});

test("proxy rules tells what became of requests", async (t) => {
  const { socket } = await fakeAgent(t, { proxy });
  const text = await run(socket, "proxy", "rules");
  t.regex(text, /1 +12 +1\.5 ms +20\.0 ms +ingress of policy set 3 +http \[\{"method":"GET"\}\]/);
  t.regex(text, /5 +ingress +300 +301 +http\/1\.1/);
  t.deepEqual(JSON.parse(await run(socket, "proxy", "rules", "--json")), proxy.rules());
});
