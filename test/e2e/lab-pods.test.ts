import { readdir, readFile } from "node:fs/promises";
import test from "ava";
import { readManifests } from "../../src/lab/objects.ts";
import { remains } from "../../src/lab/teardown.ts";
import { Lab } from "../../src/lab/lab.ts";
import { fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";

const shop = (file: string) => new URL(`../../examples/shop/${file}`, import.meta.url).pathname;

test("the shop comes up: pods answer each other over routes that BGP brought, services spread, policies hold", (t) =>
  withLab(t, { nodes: 3, manifests: [shop("10-shop.yaml")] }, async (lab) => {
    const { pods, services } = await lab.status();
    t.deepEqual(pods.map((p) => `${p.namespace}/${p.name}`).sort(), [
      "shop/api-0",
      "shop/api-1",
      "shop/api-2",
      "shop/database-0",
      "shop/web-0",
      "shop/web-1",
    ]);
    t.is(new Set(pods.map((p) => p.node)).size, 3);
    const vips = (name: string) => services.find((s) => s.name === name)?.addresses ?? [];
    t.is(vips("api").length, 2);
    await settled(lab);
    for (const family of [4, 6] as const) {
      const database = await podAddress(lab, "shop/database-0", family);
      t.regex((await fetchFrom(lab, "shop/web-0", database, 5432)) ?? "none", /^shop\/database-0 peer/);
      t.regex(
        (await fetchFrom(lab, "external/client", database, 5432)) ?? "none",
        /^shop\/database-0 peer \[?(198|2001)/,
      );
    }
    // The fabric sends the whole CIDR to the node: what no pod has there is answered, and does not go back and forth.
    for (const nobody of [
      lab.node("node-1").podCidr4.replace(/0\/24$/, "253"),
      lab.node("node-1").podCidr6.replace(/\/64$/, "fd"),
    ]) {
      const { stdout } = await lab.exec("external/client", ["ping", "-c", "1", "-W", "20", nobody]);
      t.regex(stdout, /Destination (host )?unreachable/i, nobody);
    }
    for (const vip of vips("api")) {
      const seen = new Set<string>();
      for (let i = 0; i < 30; i++) seen.add((await fetchFrom(lab, "shop/web-0", vip, 80))?.split(" ")[0] ?? "none");
      t.deepEqual([...seen].sort(), ["shop/api-0", "shop/api-1", "shop/api-2"]);
    }

    await lab.apply([shop("20-policies.yaml")]);
    await settled(lab);
    t.is(await fetchFrom(lab, "shop/web-0", await podAddress(lab, "shop/database-0"), 5432, 1), null);
    for (const vip of vips("database")) {
      t.regex((await fetchFrom(lab, "shop/api-0", vip, 5432)) ?? "none", /^shop\/database-0/);
      t.is(await fetchFrom(lab, "shop/web-1", vip, 5432, 1), null);
    }
    const api = await podAddress(lab, "shop/api-1");
    t.regex((await fetchFrom(lab, "shop/web-1", api, 8080)) ?? "none", /^shop\/api-1/);
    t.regex((await fetchFrom(lab, "external/client", api, 8080)) ?? "none", /^shop\/api-1/);
    t.is(await fetchFrom(lab, "shop/database-0", api, 8080, 1), null);
  }));

test("deleting a deployment takes its pods away, with addresses and devices", (t) =>
  withLab(t, { nodes: 1, manifests: [shop("10-shop.yaml")] }, async (lab) => {
    const devices = async () => (await lab.exec("node/node-1", ["ls", "/proc/sys/net/ipv4/conf"])).stdout;
    const before = await devices();
    await lab.delete([shop("10-shop.yaml")]);
    t.deepEqual((await lab.status()).pods, []);
    t.true((await devices()).split("\n").length <= before.split("\n").length - 6);
    await lab.applyObjects([pod("again")]);
    t.regex(
      (await fetchFrom(lab, "node/node-1", await podAddress(lab, "default/again"), 8080)) ?? "none",
      /^default\/again/,
    );
  }));

test("lab down after kill -9 of everything, agents too, leaves nothing", (t) =>
  withLab(t, { nodes: 2, objects: [pod("one"), pod("two")] }, async (lab) => {
    const pids = await readdir("/proc");
    for (const pid of pids.filter((name) => /^\d+$/.test(name))) {
      const cgroup = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
      if (cgroup.includes(`/tandem-${lab.name}/`)) process.kill(Number(pid), "SIGKILL");
    }
    await Lab.down(lab.name);
    t.deepEqual(await remains(lab.name), []);
  }));

test("the example manifests are valid for the lab", async (t) => {
  const kinds = (await readManifests([shop("")])).map(({ kind }) => kind);
  t.deepEqual(new Set(kinds), new Set(["Namespace", "Deployment", "Service", "NetworkPolicy", "CiliumNetworkPolicy"]));
});
