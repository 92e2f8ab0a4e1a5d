/**
 * `scripts/bench bgp`: from the end of a service's last local endpoint (its EndpointSlice says not ready) to the top-of-rack router having taken the
 * route out of its kernel, and back. A lab with gobgpd beside the agent and bird as the router; what writing the slice takes is in it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Lab } from "../src/lab/lab.ts";
import { percentile, printTable, type Row } from "./support.ts";

const vip = "203.0.113.10";
const limitMs = 30_000;

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: { type: "LoadBalancer", externalTrafficPolicy: "Local", ports: [{ port: 80, targetPort: 8080 }] },
  status: { loadBalancer: { ingress: [{ ip: vip }] } },
};

const slice = (ready: boolean) => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: "web-1", namespace: "default", labels: { "kubernetes.io/service-name": "web" } },
  addressType: "IPv4",
  ports: [{ name: "", port: 8080, protocol: "TCP" }],
  endpoints: [{ addresses: ["10.1.0.9"], conditions: { ready, serving: ready }, nodeName: "node-1" }],
});

export async function benchBgp(rounds: number): Promise<readonly Row[]> {
  const name = `bench${process.pid.toString(36)}`;
  try {
    const agent = { advertiseServices: "all" };
    const lab = await Lab.up({ name, nodes: 1, agent, objects: [service] });
    const times = await measure(lab, rounds);
    const row = (what: string, values: readonly number[], baseline: string, aim: string): Row => ({
      what,
      figure: `p50 ${percentile(values, 0.5).toFixed(0)} ms, p99 ${percentile(values, 0.99).toFixed(0)} ms`,
      baseline,
      ratio: null,
      aim,
    });
    const rows = [
      row(
        "last local endpoint not ready -> route gone in the router",
        times.gone,
        "143 ms (kube-router 1.2, a service deleted; not of this run)",
        "p99 < 100 ms",
      ),
      row("first local endpoint ready -> route in the router", times.back, "-", ""),
    ];
    printTable(`bgp (${rounds} times each)`, rows);
    return rows;
  } finally {
    await Lab.down(name);
  }
}

async function measure(lab: Lab, rounds: number) {
  const monitor = spawn("ip", ["-n", lab.plan.tor.netns, "monitor", "route"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface(monitor.stdout);
  try {
    const gone: number[] = [];
    const back: number[] = [];
    await once(monitor, "spawn");
    for (let round = 0; round <= rounds; round++) {
      for (const ready of [true, false]) {
        const seen = new Promise<number>((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(`the router does not hear of ${vip}`)), limitMs);
          lines.on("line", (line) => {
            if (!line.includes(vip) || line.startsWith("Deleted") === ready) return;
            clearTimeout(timer);
            lines.removeAllListeners("line");
            resolve(performance.now());
          });
        });
        const begun = performance.now();
        await lab.applyObjects([slice(ready)]);
        const took = (await seen) - begun;
        // The first round meets cold code, and a session that has just come up.
        if (round > 0) (ready ? back : gone).push(took);
      }
    }
    return { gone, back };
  } finally {
    lines.close();
    monitor.kill();
  }
}
