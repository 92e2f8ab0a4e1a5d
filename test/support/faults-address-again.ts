/**
 * An address that another pod has 100 ms after the one before: who talked with the old one over ICMP, TCP and UDP, and may not talk with the
 * new one, asks on all the while and is answered by nobody, in both families, from this node and from another.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { kinds } from "../../src/kube/index.ts";
import {
  addressesAnnotation,
  createSandbox,
  destroySandbox,
  makeSandbox,
  startProcesses,
  wireSandbox,
} from "../../src/lab/pods.ts";
import { nameOf, podOn } from "./faults-cluster.ts";
import { createPod, deletePod, type Scene } from "./faults-scene.ts";
import { beginKnocking } from "./knock.ts";
import { answererOf, beginFlow } from "./lab.ts";

const ports = [8080, { containerPort: 9000, protocol: "UDP" }] as const;

/** One ping each 10 ms. */
async function beginPings({ lab }: Scene, from: string, address: string) {
  const folder = await mkdtemp(join(tmpdir(), "tandem-faults-"));
  const [log, stop] = [join(folder, "log"), join(folder, "stop")];
  const ping = `ping -O -i 0.01 ${address} >${log} & while [ ! -e ${stop} ]; do sleep 0.1; done; kill -INT $!; wait`;
  const pinging = lab.exec(from, ["sh", "-c", ping], { timeoutMs: 240_000 });
  const count = async (pattern: RegExp) =>
    [...(await readFile(log, "utf8").catch(() => "")).matchAll(pattern)].map(([, sequence]) => Number(sequence));
  const end = async () => {
    await writeFile(stop, "");
    await pinging;
  };
  return {
    answered: () => count(/icmp_seq=(\d+) ttl/g),
    unanswered: () => count(/no answer yet for icmp_seq=(\d+)/g),
    end,
    remove: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Who asks both addresses of the old pod, over everything. */
async function beginAsking(scene: Scene, from: string, addresses: readonly string[]) {
  const { lab, t } = scene;
  const pings = await Promise.all(addresses.map((address) => beginPings(scene, from, address)));
  const flows = await Promise.all(
    addresses.map((address) => beginFlow(lab, from, { kind: "udp", address, port: 9000, lateMs: 0 })),
  );
  const knocking = await beginKnocking(lab, from, { addresses, port: 8080, everyMs: 20 });
  return {
    untilAnswered: () =>
      lab.until("the old pod answers", async () => {
        const counts = await Promise.all(pings.map(({ answered }) => answered()));
        return counts.every(({ length }) => length > 10);
      }),
    /** Until more were asked, of whoever has the addresses now. */
    untilAskedMore: async () => {
      const before = await Promise.all(pings.map(({ unanswered }) => unanswered()));
      await lab.until("the new pod is asked", async () => {
        const now = await Promise.all(pings.map(({ unanswered }) => unanswered()));
        return now.every(({ length }, at) => length > (before[at]?.length ?? 0) + 50);
      });
    },
    /** @param name of the old pod @param gone when it was gone, ms since the epoch */
    judge: async (name: string, gone: number) => {
      for (const ping of pings) {
        await ping.end();
        const seen = await ping.answered();
        const before = seen.map((_, i) => i + 1);
        t.deepEqual(seen, before, "ICMP: nobody answered after the old pod had gone");
      }
      for (const flow of flows.splice(0)) {
        const { sent, answered, from: answerers } = await flow.end();
        t.deepEqual(answerers, [name], `UDP: ${answered} of ${sent} were answered`);
      }
      for (const [address, { tried, passed, lastPassedAt, from: answerers }] of Object.entries(await knocking.end())) {
        t.true(passed > 0 && tried > passed, `TCP: ${passed} of ${tried} passed to ${address}`);
        t.deepEqual(answerers, [name], `TCP to ${address}`);
        t.true(
          lastPassedAt <= gone,
          `TCP: one passed to ${address} ${lastPassedAt - gone} ms after the old pod had gone`,
        );
      }
    },
    remove: async () => {
      for (const flow of flows) await flow.end().catch(() => undefined); // what failed before is the one to tell
      await knocking.end().catch(() => undefined);
      await Promise.all(pings.map(({ remove }) => remove()));
    },
  };
}

/**
 * @param agentDies between the two pods
 * @returns ms from DEL of the old one to the end of ADD of the new one
 */
export async function addressAgain(scene: Scene, round: number, agentDies: boolean): Promise<number> {
  const { t, lab, cluster } = scene;
  const oldObject = podOn("node-1", `old-${round}`, "open", { ports });
  const old = await createPod(scene, oldObject);
  const addresses = await createSandbox(lab.plan, old);
  const status = { phase: "Running", podIP: addresses[0], podIPs: addresses.map((ip) => ({ ip })) };
  await cluster.client.patch(kinds.pods, nameOf(oldObject.metadata), { status }, { subresource: "status" });
  await startProcesses(lab.plan, old);
  const asking = await beginAsking(scene, `default/stranger-${(round % 2) + 1}`, addresses);
  try {
    await asking.untilAnswered();
    const object = podOn("node-1", `new-${round}`, "server", { ports });
    const annotations = { [addressesAnnotation]: addresses.join(",") };
    const fresh = await createPod(scene, { ...object, metadata: { ...object.metadata, annotations } });
    if (agentDies) await lab.stopAgent("node-1", "SIGKILL");
    // As a runtime makes the namespace of one pod while another one goes.
    await makeSandbox(lab.plan, fresh);
    const began = Date.now();
    await destroySandbox(lab.plan, old);
    const gone = Date.now();
    // While there is no agent ADD fails, and kubelets try again.
    if (agentDies) await lab.startAgent("node-1");
    const again = await wireSandbox(lab.plan, fresh);
    const gap = Date.now() - gone;
    t.log(`DEL ${gone - began} ms, ADD ${gap} ms${agentDies ? ", with a new agent" : ""}`);
    t.deepEqual(again, addresses);
    // The object of the old one says for some time more that the addresses are its.
    await asking.untilAskedMore();
    await startProcesses(lab.plan, fresh);
    for (const address of addresses)
      t.is(await answererOf(lab, "default/client-1", address, 8080), `default/new-${round}`);
    await sleep(500);
    await deletePod(scene, oldObject);
    await asking.judge(`default/old-${round}`, gone);
    await destroySandbox(lab.plan, fresh);
    await deletePod(scene, object);
    return gap;
  } finally {
    await asking.remove();
  }
}
