/** What leaves the cluster has the node's address where nobody knows pods, and pods' own where routes or the configuration say so. */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { NatDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { far, serveFar } from "../support/far.ts";

const families = [4, 6] as const;

async function must(lab: Lab, on: string, command: string): Promise<void> {
  const { code, stderr } = await lab.exec(on, command.split(" "));
  if (code !== 0) throw new Error(`${on}: ${command}: ${stderr}`);
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
    await serveFar(lab, { datagrams: true });
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
