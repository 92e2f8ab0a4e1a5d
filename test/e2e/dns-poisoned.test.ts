/** Answers that somebody made up, and names that lead into the cluster: nothing of them is open in the kernel. */
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { cachedAddresses, digFrom, openNames, outsideNames } from "../support/names.ts";

/** The client may ask the server outside for everything, and reach names below open.test. */
const policy = openNames(["world"], [{ matchPattern: "*" }]);

const cluster = { 4: "10.96.7.1", 6: "fd00:10:96::7:1" } as const;
const vips = { 4: "203.0.113.10", 6: "2001:db8:aa::10" } as const;
const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "far", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    clusterIP: cluster[4],
    clusterIPs: Object.values(cluster),
    ipFamilies: ["IPv4", "IPv6"],
    ipFamilyPolicy: "RequireDualStack",
    selector: { app: "far" },
    ports: [{ port: 80, targetPort: 80 }],
  },
  status: { loadBalancer: { ingress: Object.values(vips).map((ip) => ({ ip })) } },
};

/** Which of the addresses `from` reaches, all tried at once. */
async function reached(lab: Lab, from: string, addresses: readonly string[], seconds: number) {
  const tried = await Promise.all(addresses.map((address) => fetchFrom(lab, from, address, 80, seconds)));
  return addresses.filter((_, at) => tried[at] !== null);
}

/** Which of them are written in a policy set of the kernel. */
async function inKernel(lab: Lab, addresses: readonly string[]) {
  const { stdout, stderr } = await lab.agent("node-1", ["bpf", "policy", "list", "--json"]);
  if (stdout === "") throw new Error(stderr);
  return addresses.filter((address) => stdout.includes(`"${address}/${address.includes(":") ? 128 : 32}"`));
}

test("made up answers and names that lead into the cluster open nothing in the kernel; the right answer opens what it says", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      proxies: true,
      agent: { dnsMode: "proxy", dnsMinTtl: 600 },
      objects: [
        pod("client", { node: "node-1" }),
        pod("free", { node: "node-1" }),
        pod("near", { node: "node-1", ports: [80] }),
        pod("far", { node: "node-2", ports: [80] }),
        pod("host-1", { node: "node-1", ports: [80], hostNetwork: true }),
        pod("host-2", { node: "node-2", ports: [80], hostNetwork: true }),
        service,
        policy,
      ],
    },
    async (lab) => {
      const { ipv4, ipv6, dns, publish } = await outsideNames(t, lab);
      const [right = "", id = "", question = "", beside = "", control = ""] = ipv4;
      const [right6 = ""] = ipv6;
      const pods = ["default/near", "default/far"];
      const inside = {
        4: [cluster[4], vips[4], ...lab.plan.nodes.map((node) => node.ipv4)],
        6: [cluster[6], vips[6], ...lab.plan.nodes.map((node) => node.ipv6)],
      };
      for (const family of [4, 6] as const)
        for (const name of pods) inside[family].push(await podAddress(lab, name, family));
      await publish({
        "ready.test": { A: [right] },
        "api.open.test": { A: [right], poison: { id: [id], question: [question], beside: [beside] } },
        "control.open.test": { A: [control] },
        "inside.open.test": { A: [...inside[4], "127.0.0.1"], AAAA: [...inside[6], right6, "::1"] },
      });
      await settled(lab);
      const ask = (...words: readonly string[]) => digFrom(lab, "default/client", dns, ...words);
      await lab.until("the proxy has the rules", async () => (await ask("ready.test")).code === "NOERROR");

      const made = [id, question, beside];
      t.deepEqual(
        [...(await ask("api.open.test")).addresses].sort(),
        [right, beside].sort(),
        "not what came before it",
      );
      t.deepEqual(await reached(lab, "default/client", [right], 20), [right]);
      t.deepEqual(await reached(lab, "default/client", made, 2), []);
      t.deepEqual(await cachedAddresses(lab, "api.open.test"), [right]);
      t.deepEqual(await cachedAddresses(lab, "other.open.test"), []);
      t.deepEqual(await inKernel(lab, [right, ...made]), [right]);
      t.deepEqual((await ask("control.open.test")).addresses, [control]);
      t.deepEqual(await inKernel(lab, [control, ...made]), [control], "what an answer opens is seen here");

      const all = [...inside[4], ...inside[6]];
      t.deepEqual(await reached(lab, "default/free", all, 20), all, "there are servers at all of them");
      t.is((await ask("inside.open.test", "A")).code, "NOERROR");
      t.is((await ask("inside.open.test", "AAAA")).code, "NOERROR");
      t.deepEqual(await reached(lab, "default/client", [right6], 20), [right6], "the answer was taken");
      t.deepEqual(await reached(lab, "default/client", [...all, "127.0.0.1", "::1"], 2), []);
    },
  ));
