/** DNS as clusters have it: a server pod behind a service's address, on another node, in both families; and names that count for all pods (dnsShared). */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { digFrom, type NameRecord, outsideNames } from "../support/names.ts";

const cluster = { 4: "10.96.7.53", 6: "fd00:10:96::7:53" } as const;
const families = [4, 6] as const;
/** What makes an answer of some 4,000 bytes: several fragments, where it comes over UDP. */
const large = {
  4: Array.from({ length: 150 }, (_, at) => `203.0.113.${at + 1}`),
  6: Array.from({ length: 105 }, (_, at) => `2001:db8:bb::${(at + 1).toString(16)}`),
};
const script = new URL("../support/names.js", import.meta.url).pathname;

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "dns", namespace: "default" },
  spec: {
    clusterIP: cluster[4],
    clusterIPs: Object.values(cluster),
    ipFamilies: ["IPv4", "IPv6"],
    ipFamilyPolicy: "RequireDualStack",
    selector: { app: "dns" },
    ports: (["UDP", "TCP"] as const).map((protocol) => ({ name: protocol.toLowerCase(), port: 53, protocol })),
  },
};

/** @param fqdns what the pod may reach by name */
const policy = (app: string, fqdns: object) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: app, namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app } },
    egress: [
      {
        toEndpoints: [{ matchLabels: { app: "dns" } }],
        toPorts: [{ ports: [{ port: "53", protocol: "ANY" }], rules: { dns: [{ matchPattern: "*.test" }] } }],
      },
      { toFQDNs: [fqdns], toPorts: [{ ports: [{ port: "80", protocol: "TCP" }] }] },
    ],
  },
});

test("questions to a service's address are judged and keep the pod's address, between nodes and in both families; with dnsShared an answer counts for all", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-dns-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "records.json");
  const command = [process.execPath, script, "dns", "::", "53", file, join(folder, "begun")];
  await writeFile(file, "{}");
  const objects = [
    pod("dns", {
      node: "node-2",
      command,
      ports: (["UDP", "TCP"] as const).map((protocol) => ({ containerPort: 53, protocol })),
    }),
    pod("client", { node: "node-1" }),
    pod("other", { node: "node-1" }),
    pod("stranger", { node: "node-1" }),
    service,
    policy("client", { matchName: "www.test" }),
    policy("other", { matchPattern: "w*.test" }),
    policy("stranger", { matchName: "else.test" }),
  ];
  const agent = { dnsMode: "proxy", dnsMinTtl: 600, dnsShared: true };
  await withLab(t, { nodes: 2, proxies: true, agent, objects }, async (lab) => {
    const { ipv4, ipv6 } = await outsideNames(t, lab);
    const [first = "", second = ""] = ipv4;
    const [first6 = ""] = ipv6;
    const records: Readonly<Record<string, NameRecord>> = {
      "who.test": { who: true },
      "www.test": { A: [first], AAAA: [first6], ttl: 300 },
      "closed.test": { A: [second] },
      "large.test": { A: large[4], AAAA: large[6] },
    };
    await writeFile(file, JSON.stringify(records));
    await settled(lab);
    const ask = (server: string, ...words: readonly string[]) => digFrom(lab, "default/client", server, ...words);
    await lab.until("the server answers", async () => (await ask(cluster[4], "who.test")).code === "NOERROR");
    for (const family of families) {
      const own = await podAddress(lab, "default/client", family);
      const type = family === 4 ? "A" : "AAAA";
      // dig takes no answer that comes from another address than it asked.
      for (const server of [cluster[family], await podAddress(lab, "default/dns", family)]) {
        for (const transport of ["+notcp", "+tcp"]) {
          const what = `${server} ${transport}`;
          t.deepEqual(await ask(server, transport, "who.test", type), { code: "NOERROR", addresses: [own] }, what);
          t.deepEqual(await ask(server, transport, "who.example", type), { code: "REFUSED", addresses: [] }, what);
        }
      }
    }

    for (const family of families) {
      const words = ["+notcp", "+ignore", "+bufsize=4096", "large.test", family === 4 ? "A" : "AAAA"];
      for (const server of [cluster[family], await podAddress(lab, "default/dns", family)])
        t.deepEqual([...(await ask(server, ...words)).addresses].sort(), [...large[family]].sort(), server);
    }

    const reaches = async (from: string, address: string, seconds = 2) =>
      (await fetchFrom(lab, `default/${from}`, address, 80, seconds)) !== null;
    for (const [family, address] of [
      [4, first],
      [6, first6],
    ] as const) {
      for (const from of ["client", "other"]) t.false(await reaches(from, address), `${from} ${address}`);
      const type = family === 4 ? "A" : "AAAA";
      t.deepEqual(await ask(cluster[family], "www.test", type), { code: "NOERROR", addresses: [address] });
      t.true(await reaches("client", address, 20), address);
      t.true(await reaches("other", address, 20), `${address}: it has a rule with that name`);
      t.false(await reaches("stranger", address), `${address}: it has none`);
    }
    t.is((await ask(cluster[4], "closed.test")).code, "NOERROR");
    t.false(await reaches("client", second), "no rule names it");
  });
});
