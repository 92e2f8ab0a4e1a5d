/** What leaves the cluster has the node's address where nobody knows pods, and pods' own where routes or the configuration say so. */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { NatDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { packageRoot } from "../../src/native/index.ts";
import { beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

/** Of the host outside, and announced to nobody: nodes reach them by their default route. */
const far = { 4: "198.51.100.9", 6: "2001:db8:ff::9" } as const;
const families = [4, 6] as const;

async function must(lab: Lab, on: string, command: string): Promise<void> {
  const { code, stderr } = await lab.exec(on, command.split(" "));
  if (code !== 0) throw new Error(`${on}: ${command}: ${stderr}`);
}

/** A server outside that tells whom it sees, at addresses behind a default route. It ends with the lab. */
async function serveFar(lab: Lab): Promise<void> {
  const [external] = lab.plan.externals;
  if (external === undefined) throw new Error("no host outside");
  for (const family of families) {
    const [via, gateway] = family === 4 ? [external.ipv4, lab.plan.tor.ipv4] : [external.ipv6, lab.plan.tor.ipv6];
    await must(lab, "external/client", `ip addr add ${far[family]}/${family === 4 ? 32 : 128} dev lo`);
    await must(lab, "tor", `ip -${family} route add ${far[family]} via ${via}`);
    // datagrams are answered from there, too
    const router = family === 4 ? lab.plan.tor.external4 : lab.plan.tor.external6;
    await must(lab, "external/client", `ip -${family} route replace default via ${router} src ${far[family]}`);
    for (const node of lab.plan.nodes)
      await must(lab, `node/${node.name}`, `ip -${family} route add default via ${gateway}`);
  }
  const server = [process.execPath, join(packageRoot(), "dist/tandem-pod-server.js"), "far", "tcp:8080", "udp:9000"];
  void lab.exec("external/client", server, { timeoutMs: 600_000 }).catch(() => undefined);
  await lab.until("the server outside answers", async () => (await fetchFrom(lab, "tor", far[4], 8080, 2)) !== null);
}

/** Whom the server sees when the pod asks it; null: nobody came. */
async function seenAs(lab: Lab, address: string): Promise<string | null> {
  const answer = await fetchFrom(lab, "default/client", address, 8080);
  return answer?.match(/peer \[?([0-9a-f.:]+?)\]?:\d+$/)?.[1] ?? null;
}

const isSeenAs = (lab: Lab, address: string, source: string) =>
  lab.until(`the pod is seen as ${source}`, async () => (await seenAs(lab, address)) === source);

test("pods leave as their node where nobody knows them, and as themselves by routes of BGP and by the configuration", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-masquerade-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const masqueradeConfig = join(folder, "config");
  const exempt = async (cidrs: readonly string[]) => {
    await writeFile(`${masqueradeConfig}.new`, JSON.stringify({ nonMasqueradeCIDRs: cidrs }));
    await rename(`${masqueradeConfig}.new`, masqueradeConfig);
  };
  await exempt([]);
  const agent = { masqueradeIpv4: true, masqueradeIpv6: true, masqueradeConfig };
  const objects = [pod("client", { node: "node-1" }), pod("other", { node: "node-2" })];
  await withLab(t, { nodes: 2, agent, objects }, async (lab) => {
    await settled(lab);
    await serveFar(lab);
    const node = lab.node("node-1");
    const [external] = lab.plan.externals;
    for (const family of families) {
      const own = await podAddress(lab, "default/client", family);
      const [ofNode, known] = family === 4 ? [node.ipv4, external?.ipv4] : [node.ipv6, external?.ipv6];
      t.is(await seenAs(lab, far[family]), ofNode, "by the default route");
      t.is(await seenAs(lab, known ?? ""), own, "by a route of BGP");
      t.is(await seenAs(lab, await podAddress(lab, "default/other", family)), own, "inside of the cluster");

      const running = await beginFlow(lab, "default/client", { kind: "tcp", address: far[family], port: 8080 });
      const datagrams = await beginFlow(lab, "default/client", { kind: "udp", address: far[family], port: 9000 });
      const listed = JSON.parse(
        (await lab.agent("node-1", ["bpf", "nat", "list", "--json"])).stdout,
      ) as readonly NatDto[];
      const masqueraded = listed.filter(
        ({ kind, destination }) => kind === "masquerade" && destination.includes(far[family]),
      );
      t.true(
        masqueraded.some(
          ({ protocol, state, source }) => protocol === "TCP" && state === "established" && source.includes(own),
        ),
      );
      t.true(masqueraded.every(({ newSource }) => newSource.includes(ofNode)));

      // kube-router learns of it: new flows go as themselves, and those that run are as they were
      const { ipv4, ipv6 } = lab.plan.tor;
      const route = `${far[family]} via ${family === 4 ? ipv4 : ipv6} proto 17`;
      await must(lab, "node/node-1", `ip -${family} route add ${route}`);
      await isSeenAs(lab, far[family], own);
      await must(lab, "node/node-1", `ip -${family} route del ${route}`);
      await isSeenAs(lab, far[family], ofNode);
      await exempt([`${far[family]}/${family === 4 ? 24 : 64}`]);
      await isSeenAs(lab, far[family], own);
      await exempt([]);
      await isSeenAs(lab, far[family], ofNode);
      for (const flow of [running, datagrams]) {
        const { sent, answered, from } = await flow.end();
        t.true(sent > 20 && answered === sent, `${answered} of ${sent}`);
        t.deepEqual(from, ["far"]);
      }
    }
  });
});
