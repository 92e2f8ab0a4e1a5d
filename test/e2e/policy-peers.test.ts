/** Policy on a running node: audit mode, addresses of the node itself, peers that are neither pods nor written addresses. */
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { beginFlow, fetchFrom, monitored, pod, podAddress, settled, sharedLab, withLab } from "../support/lab.ts";

const server = pod("server", { node: "node-1", ports: [8080, { containerPort: 9000, protocol: "UDP" }] });
const client = pod("client", { node: "node-2" });

const closed = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "closed", namespace: "default" },
  spec: { podSelector: {}, policyTypes: ["Ingress"] },
};

interface Event {
  readonly verdict: string;
  readonly type: string;
  readonly reason: string;
  readonly source?: { readonly name: string };
  readonly destination?: { readonly name: string };
}

async function auditModes(lab: Lab): Promise<Readonly<Record<string, { active: boolean; own: boolean | null }>>> {
  const { stdout } = await lab.agent("node-1", ["endpoint", "list", "--json"]);
  const rows = JSON.parse(stdout) as readonly {
    readonly pod: string;
    readonly policyAuditMode: { active: boolean; own: boolean | null };
  }[];
  const pods = rows.filter(({ pod }) => !pod.startsWith("node/"));
  return Object.fromEntries(pods.map((row) => [row.pod, row.policyAuditMode]));
}

const setAudit = (lab: Lab, name: string, value: string) =>
  lab.agent("node-1", ["endpoint", "config", name, `PolicyAuditMode=${value}`]);

const inLab = sharedLab({ objects: [server, pod("other", { node: "node-1" }), client, closed] });

inLab(
  "in audit mode a pod is reached although policy closes it, and each would-be drop is told; kept over a restart",
  async (t, lab) => {
    const address = await podAddress(lab, "default/server");
    const address6 = await podAddress(lab, "default/server", 6);
    const other = await podAddress(lab, "default/other");
    const reaches = async (to: string) => (await fetchFrom(lab, "default/client", to, 8080, 3)) !== null;
    await lab.until("the server is closed", async () => !(await reaches(address)) && !(await reaches(address6)));

    const set = await setAudit(lab, "default/server", "true");
    t.is(set.code, 0, set.stderr);
    t.is(set.stdout, "PolicyAuditMode: Enabled\n");
    t.true(await reaches(address), "when the command is done, the kernel has it");
    t.true(await reaches(address6));
    t.false(await reaches(other), "another pod of the node is closed as before");

    const of = (name: string) => (event: Event) =>
      event.source?.name === "default/client" && event.destination?.name === name;
    const events = await monitored<Event>(
      lab,
      "node-1",
      async () => {
        await reaches(address);
        await reaches(other);
      },
      (seen) => seen.some(of("default/server")) && seen.some(of("default/other")),
    );
    const about = (name: string) => events.filter(of(name));
    const audited = about("default/server");
    t.true(audited.length > 0);
    t.deepEqual([...new Set(audited.map(({ verdict, type }) => `${type} ${verdict}`))], ["verdict audit"]);
    t.regex(audited[0]?.reason ?? "", /policy/);
    t.true(about("default/other").every(({ verdict }) => verdict === "denied"));
    t.true(about("default/other").length > 0);

    await lab.stopAgent("node-1", "SIGKILL");
    await lab.startAgent("node-1");
    t.deepEqual((await auditModes(lab))["default/server"], { active: true, own: true });
    t.true(await reaches(address));

    const flow = await beginFlow(lab, "default/client", { kind: "udp", address, port: 9000 });
    await setAudit(lab, "default/server", "default");
    await sleep(2_000);
    const { sent, answered } = await flow.end();
    t.true(answered > 0 && answered < sent - 10, `what runs is cut: ${answered} of ${sent} answered`);
    t.deepEqual((await auditModes(lab))["default/server"], { active: false, own: null });
    t.false(await reaches(address));
  },
);

inLab(
  "a node reaches its closed pods from every address of its own: of a bridge, on lo, a secondary one, until the address goes",
  async (t, lab) => {
    const addresses = { 4: await podAddress(lab, "default/server"), 6: await podAddress(lab, "default/server", 6) };
    const host = (...words: readonly string[]) => lab.exec("node/node-1", words);
    const from = async (source: string) => {
      const target = source.includes(":") ? `[${addresses[6]}]` : addresses[4];
      const url = `http://${target}:8080/`;
      return (await host("curl", "-sg", "-m", "20", "--interface", source, url)).code === 0;
    };
    const known = async () => {
      const { stdout } = await lab.agent("node-1", ["bpf", "ipcache", "list", "--json"]);
      return new Map(
        (JSON.parse(stdout) as readonly { readonly address: string; readonly identity: number }[]).map(
          ({ address, identity }) => [address, identity],
        ),
      );
    };
    t.is((await host("ip", "link", "add", "br-own", "type", "bridge")).code, 0);
    const done = async (...words: readonly string[]) => t.is((await host("ip", ...words)).code, 0, words.join(" "));
    await done("link", "set", "br-own", "up");
    const own = ["172.30.7.1", "172.31.7.1", "fd00:172:30::1"];
    await done("addr", "add", "172.30.7.1/24", "dev", "br-own");
    await done("addr", "add", "fd00:172:30::1/64", "dev", "br-own", "nodad");
    await done("addr", "add", "172.31.7.1/32", "dev", "lo");
    await lab.until("they are the host", async () => {
      const identities = await known();
      return own.every((address) => identities.get(address) === 1);
    });
    for (const address of own) t.true(await from(address), address);
    t.is(await fetchFrom(lab, "default/client", addresses[4], 8080, 1), null, "others are closed out");

    await done("addr", "del", "172.31.7.1/32", "dev", "lo");
    await done("link", "delete", "br-own");
    await lab.until("they are nobody any more", async () => {
      const identities = await known();
      return own.every((address) => !identities.has(address));
    });
    t.pass();
  },
);

inLab("peers by group of CIDRs and by labels of nodes follow their objects", async (t, lab) => {
  // Of the lab's own policies none; nobody comes after.
  await lab.deleteObjects([closed]);
  await settled(lab);
  const address = await podAddress(lab, "default/server");
  const reached = async () => {
    const sources = ["external/client", "node/node-2", "default/client"];
    const answers = await Promise.all(sources.map((source) => fetchFrom(lab, source, address, 8080, 3)));
    return sources.filter((_, at) => answers[at] !== null);
  };
  const becomes = (what: string, expected: readonly string[]) =>
    lab.until(what, async () => JSON.stringify(await reached()) === JSON.stringify(expected));
  const policy = (from: object) => ({
    apiVersion: "cilium.io/v2",
    kind: "CiliumNetworkPolicy",
    metadata: { name: "peers", namespace: "default" },
    spec: { endpointSelector: { matchLabels: { app: "server" } }, ingress: [from] },
  });
  const group = (externalCIDRs: readonly string[]) => ({
    apiVersion: "cilium.io/v2alpha1",
    kind: "CiliumCIDRGroup",
    metadata: { name: "clients" },
    spec: { externalCIDRs },
  });
  await lab.applyObjects([policy({ fromCIDRSet: [{ cidrGroupRef: "clients" }] })]);
  await becomes("a group that is not there is nobody", []);
  const { stdout } = await lab.agent("node-1", ["policy", "get", "--json"]);
  t.regex(stdout, /POLICY_GROUP_MISSING/);
  await lab.applyObjects([group([lab.plan.externalPrefix4])]);
  await becomes("the group came", ["external/client"]);
  t.notRegex((await lab.agent("node-1", ["policy", "get", "--json"])).stdout, /POLICY_GROUP_MISSING/);
  await lab.applyObjects([group(["192.0.2.0/24"])]);
  await becomes("the group is another", []);

  await lab.applyObjects([policy({ fromNodes: [{}] })]);
  await becomes("other nodes", ["node/node-2"]);
  await lab.applyObjects([policy({ fromNodes: [{ matchLabels: { "no-node-has": "this" } }] })]);
  await becomes("no node", []);
});

test("with the setting policyAuditMode all pods of a node are audited but those that say otherwise", (t) =>
  withLab(
    t,
    { objects: [server, pod("other", { node: "node-1" }), client, closed], agent: { policyAuditMode: true } },
    async (lab) => {
      const [address, other] = [await podAddress(lab, "default/server"), await podAddress(lab, "default/other")];
      const reaches = async (to: string) => (await fetchFrom(lab, "default/client", to, 8080, 3)) !== null;
      await lab.until("both are reached", async () => (await reaches(address)) && (await reaches(other)));
      await setAudit(lab, "default/other", "false");
      t.deepEqual(await auditModes(lab), {
        "default/server": { active: true, own: null },
        "default/other": { active: false, own: false },
      });
      t.false(await reaches(other));
      t.true(await reaches(address));
    },
  ));
