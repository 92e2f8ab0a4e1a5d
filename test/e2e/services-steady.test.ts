/**
 * A service for clients outside, while all that its rules promise to survive happens to it: backends come, one leaves, the agent of the node that clients
 * come to is killed and starts again, and the fabric moves them to another node. Nobody is reset but who talks to the one that left.
 */
import type { CtDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { beginStream } from "../support/streams.ts";
import { longTest } from "../support/long.ts";

const vips = ["203.0.113.30", "2001:db8:113::30"] as const;
const bytes = 40_000_000;
/** Of one download: it takes 57 s at least, longer than all that happens. */
const rate = "700k";

/** Tells its name for each line, and has a download for who speaks HTTP. */
const codeOf = (name: string) => `require("net").createServer((socket) => {
  socket.on("error", () => undefined);
  socket.on("data", (chunk) => {
    if (!chunk.toString().startsWith("GET ")) return socket.write("default/${name} is here\\n");
    let left = ${bytes};
    socket.write("HTTP/1.1 200 OK\\r\\nX-Pod: default/${name}\\r\\nContent-Length: " + left + "\\r\\nConnection: close\\r\\n\\r\\n");
    const send = () => {
      while (left > 0) {
        const some = Math.min(left, 50000);
        left -= some;
        if (!socket.write("x".repeat(some))) return socket.once("drain", send);
      }
      socket.end();
    };
    send();
  });
}).listen(8080, "::")`;

const backend = (name: string, node: string, app = "steady") =>
  pod(name, { node, labels: { app }, ports: [], command: [process.execPath, "-e", codeOf(name)] });

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "steady", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "steady" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
};

/** The fabric leads clients to these nodes. */
async function announce(lab: Lab, ...names: readonly string[]): Promise<void> {
  for (const [at, vip] of vips.entries()) {
    const hops = names.map((name) => (at === 0 ? lab.node(name).ipv4 : lab.node(name).ipv6));
    const ways = hops.length === 1 ? ["via", hops[0] ?? ""] : hops.flatMap((hop) => ["nexthop", "via", hop]);
    const { code, stderr } = await lab.exec("tor", ["ip", at === 0 ? "-4" : "-6", "route", "replace", vip, ...ways]);
    if (code !== 0) throw new Error(stderr);
  }
}

/** Connections with the service that the node knows. */
async function seenBy(lab: Lab, node: string): Promise<number> {
  const { stdout } = await lab.agent(node, ["bpf", "ct", "list", "--json"]);
  return (JSON.parse(stdout) as readonly CtDto[]).filter(({ state }) => state === "service").length;
}

async function download(lab: Lab, vip: string) {
  const url = `http://${vip.includes(":") ? `[${vip}]` : vip}/`;
  const written = "%{http_code} %{size_download} %header{x-pod}";
  const words = ["curl", "-sg", "-m", "170", "--limit-rate", rate, "-o", "/dev/null", "-w", written, url];
  const { code, stdout } = await lab.exec("external/client", words, { timeoutMs: 180_000 });
  const [status = "", size = "", by = ""] = stdout.split(" ");
  return { code, status, size: Number(size), by };
}

longTest(
  "downloads, long talks and a stream of short connections, while backends come and go, the agent is killed and the path moves",
  (t) =>
    withLab(
      t,
      {
        nodes: 3,
        agent: { loadBalancerMode: "dsr" },
        objects: [backend("a", "node-1"), backend("b", "node-2"), backend("c", "node-3"), service],
      },
      async (lab) => {
        await settled(lab);
        await announce(lab, "node-1");
        const downloads = Array.from({ length: 6 }, (_, at) => download(lab, vips[at % 2] ?? ""));
        const flows = await Promise.all(
          Array.from({ length: 8 }, (_, at) =>
            beginFlow(lab, "external/client", { kind: "tcp", address: vips[at % 2] ?? "", port: 80 }),
          ),
        );
        // A node that sees a connection keeps its backend, whatever becomes of the table; one that has not chooses by it. So they visit each now,
        // until it has seen all: a download whose client reads slowly says nothing for seconds.
        for (const name of ["node-2", "node-3", "node-1"]) {
          await announce(lab, name);
          await lab.until(
            `${name} has seen all`,
            async () => (await seenBy(lab, name)) === downloads.length + flows.length,
          );
        }
        const streams = await Promise.all(vips.map((vip) => beginStream(lab, "external/client", vip, 80)));

        // They serve before they are of the service, as a readiness probe sees to it.
        const coming = [
          ["d", "node-2"],
          ["e", "node-1"],
        ] as const;
        await lab.applyObjects(coming.map(([name, node]) => backend(name, node, "coming")));
        for (const [name] of coming) {
          const address = await podAddress(lab, `default/${name}`);
          const asks = ["timeout", "2", "bash", "-c", `exec 3<>/dev/tcp/${address}/8080`];
          await lab.until(`${name} listens`, async () => (await lab.exec("node/node-1", asks)).code === 0, 60_000);
        }
        await lab.applyObjects(coming.map(([name, node]) => backend(name, node)));
        await settled(lab);

        await lab.stopAgent("node-1", "SIGKILL");
        await announce(lab, "node-2");
        await announce(lab, "node-1", "node-3");
        await lab.startAgent("node-1");
        await settled(lab);
        await announce(lab, "node-1");

        // b leaves the service first, as one that ends does, and is gone later.
        await lab.applyObjects([backend("b", "node-2", "left")]);
        await settled(lab);
        await announce(lab, "node-3");
        await lab.deleteObjects([backend("b", "node-2", "left")]);
        await settled(lab);

        for (const [at, stream] of streams.entries()) {
          const { made, answered, errors, from } = await stream.end();
          t.log(`${vips[at]}: ${answered} of ${made} short connections, by ${from.join()}`);
          t.deepEqual([answered, errors], [made, {}], vips[at]);
          t.true(from.includes("default/d") && from.includes("default/e"), "those that came are used");
        }
        for (const flow of flows) {
          const { sent, answered, from } = await flow.end();
          t.is(from.length, 1, "it stays with its backend");
          if (from[0] !== "default/b") t.is(answered, sent, from[0]);
        }
        const ends = await Promise.all(downloads);
        t.log(ends.map(({ by, size }) => `${by} ${size}`).join(", "));
        for (const { by, ...end } of ends)
          if (by !== "default/b") t.deepEqual(end, { code: 0, status: "200", size: bytes }, by);
        t.true(ends.some(({ by }) => by !== "default/b"));
      },
    ),
);
