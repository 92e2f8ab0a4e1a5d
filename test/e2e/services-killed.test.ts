/**
 * The agent is killed while services are at odds: two want one address, one names a pod's as its own, one wants a port that is not for services; while
 * the table of flows in the node's name is full, and while a flood of SYNs goes through that of connections. The kernel goes on as it was, and an
 * agent that starts again has it the same.
 */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, answererOf, beginFlow, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";
import { synFlood } from "../support/syn-flood.ts";

const [shared, far] = ["203.0.113.40", "203.0.113.41"] as const;
const [shared6, far6] = ["2001:db8:aa::40", "2001:db8:aa::41"] as const;
const ownPort = 40_001;
/** Two for each flow. */
const natEntries = 64;
/** Connections that there is room for. */
const ctEntries = 2_048;

function service(name: string, app: string, spec: Readonly<Record<string, unknown>>) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      selector: { app },
      ipFamilyPolicy: "PreferDualStack",
      ports: [{ port: 80, targetPort: 8080 }],
      ...spec,
    },
  };
}

/** The first by name has the address. */
const apple = service("apple", "apple", { externalIPs: [shared, shared6] });

const objects = [
  pod("apple", { node: "node-1" }),
  pod("zebra", { node: "node-1" }),
  pod("far", { node: "node-2" }),
  pod("own", { node: "node-1", hostNetwork: true, ports: [ownPort] }),
  pod("client", { node: "node-1", ports: [] }),
  apple,
  service("zebra", "zebra", { externalIPs: [shared, shared6] }),
  service("far", "far", { externalIPs: [far, far6] }),
  service("wrong", "apple", { type: "NodePort", ports: [{ port: 80, targetPort: 8080, nodePort: ownPort }] }),
];

/** Opens as many connections as there is room for and holds them until FILE.end is there; FILE has their number then. */
const filler = `const { connect } = require("node:net"), { existsSync, writeFileSync } = require("node:fs");
const [host, count, file] = process.argv.slice(1);
const open = () => new Promise((resolve) => {
  const socket = connect({ host, port: 80, timeout: 2000 });
  socket.once("connect", () => { socket.setTimeout(0); resolve(1); });
  socket.on("timeout", () => { socket.destroy(); resolve(0); });
  socket.on("error", () => resolve(0));
});
Promise.all(Array.from({ length: Number(count) }, open)).then((held) => {
  writeFileSync(file, String(held.reduce((sum, each) => sum + each, 0)));
  setInterval(() => existsSync(file + ".end") && process.exit(0), 50);
});`;

const told = ["SERVICE_ADDRESS_REFUSED", "SERVICE_ADDRESS_TAKEN", "SERVICE_ADDRESS_WANTED", "SERVICE_NODE_PORT"];

/** What the agent says and what its kernel has: services with their tables, and problems of services. */
async function picture(lab: Lab) {
  const { stdout } = await lab.agent("node-1", ["bpf", "services", "list", "--json"]);
  const { problems } = await agentStatus(lab, "node-1");
  return {
    kernel: (JSON.parse(stdout) as readonly object[]).map((each) => JSON.stringify(each)).sort(),
    problems: problems
      .filter(({ code }) => told.includes(code))
      .map(({ code, object, message }) => `${code} ${object}: ${message}`)
      .sort(),
  };
}

longTest(
  "killed among services at odds and a full table: the kernel goes on, and the next agent has it the same",
  (t) =>
    withLab(
      t,
      {
        nodes: 2,
        objects,
        agent: { mapSizes: { nat4: natEntries, nat6: natEntries, ct4: ctEntries, ct6: ctEntries } },
      },
      async (lab) => {
        const victim = await podAddress(lab, "default/far");
        const ports = [{ port: 8080, targetPort: 8080 }];
        await lab.applyObjects([service("thief", "zebra", { externalIPs: [victim], ports })]);
        await settled(lab);
        const { ipv4, ipv6 } = lab.node("node-1");
        for (const address of [shared, far, shared6, far6]) {
          const [family, via] = address.includes(":") ? ["-6", ipv6] : ["-4", ipv4];
          const { code, stderr } = await lab.exec("tor", ["ip", family, "route", "replace", address, "via", via]);
          t.is(code, 0, stderr);
        }
        const asOne = async (when: string) => {
          for (const from of ["external/client", "default/client"])
            for (const address of [shared, shared6])
              t.is(await answererOf(lab, from, address, 80), "default/apple", `${when}, ${from} ${address}`);
          t.is(
            await answererOf(lab, "external/client", ipv4, ownPort),
            "default/own",
            `${when}: the port is the node's`,
          );
          t.is(
            await answererOf(lab, "default/client", victim, 8080),
            "default/far",
            `${when}: the address is the pod's`,
          );
        };
        await asOne("at first");
        const before = await picture(lab);
        for (const code of told)
          t.true(
            before.problems.some((each) => each.startsWith(code)),
            code,
          );

        const flows = await Promise.all(
          [far, far, far6].map((address) => beginFlow(lab, "external/client", { kind: "tcp", address, port: 80 })),
        );
        const near = await Promise.all(
          [shared, shared6].map((address) => beginFlow(lab, "external/client", { kind: "tcp", address, port: 80 })),
        );
        const flood = await synFlood(t, lab, [shared, far, shared6, far6]);
        const folder = await mkdtemp(join(tmpdir(), "tandem-full-"));
        t.teardown(() => rm(folder, { recursive: true, force: true }));
        const file = join(folder, "held");
        const words = [process.execPath, "-e", filler, far, String(natEntries), file];
        const holding = lab.exec("external/client", words, { timeoutMs: 240_000 });
        await lab.until("the table is full", async () => existsSync(file), 60_000);
        const held = Number(await readFile(file, "utf8"));
        t.log(`${held} connections fit beside 2`);
        t.true(held > 0 && held <= natEntries / 2 - 2, String(held));
        const refused = async (when: string) => t.is(await answererOf(lab, "external/client", far, 80, 2), null, when);
        await refused("full");

        const flooding = flood(6 * ctEntries);
        await lab.stopAgent("node-1", "SIGKILL");
        await flooding;
        await asOne("without an agent");
        await refused("full, without an agent");
        await lab.startAgent("node-1");
        await settled(lab);
        await lab.until(
          "it tells the same",
          async () => (await picture(lab)).problems.length === before.problems.length,
        );
        t.deepEqual(await picture(lab), before);
        await flood(2 * ctEntries);
        await asOne("with the next agent");
        await refused("full, with the next agent");
        const { drops } = await agentStatus(lab, "node-1");
        const noRoom = drops.find(({ reason }) => reason.startsWith("no port, or no room"))?.packets ?? 0;
        // Half of the flood went to where the table was full.
        t.true(noRoom >= 3 * ctEntries, `${noRoom} are counted that found no room`);

        // What ends makes room, though nobody had seen it begin.
        await writeFile(`${file}.end`, "");
        await holding;
        for (const flow of flows) {
          const { sent, answered, from } = await flow.end();
          t.deepEqual([answered, from], [sent, ["default/far"]], "who talked goes on");
        }
        for (const flow of near) {
          const { sent, answered, from } = await flow.end();
          t.deepEqual([answered, from], [sent, ["default/apple"]], "who talked to a pod of this node goes on");
        }
        await lab.until(
          "there is room again",
          async () => (await answererOf(lab, "external/client", far, 80, 2)) === "default/far",
          180_000,
        );

        // The winner goes while nobody looks: who wanted its address has it.
        await lab.stopAgent("node-1", "SIGKILL");
        await lab.deleteObjects([apple]);
        await lab.startAgent("node-1");
        await settled(lab);
        for (const from of ["external/client", "default/client"])
          for (const address of [shared, shared6])
            t.is(await answererOf(lab, from, address, 80), "default/zebra", `${from} ${address}`);
        t.false((await picture(lab)).problems.some((each) => /^SERVICE_ADDRESS_(TAKEN|WANTED) /.test(each)));
      },
    ),
);
