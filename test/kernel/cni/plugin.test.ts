import { readdir } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import test from "ava";
import { DeleteQueue } from "../../../src/cni/delete-queue.ts";
import { TestNode } from "./node.ts";

test("ADD gives a pod addresses, routes and MTU, the node reaches it and it reaches the node and other pods", async (t) => {
  const node = await TestNode.create("add");
  t.teardown(() => node.remove());
  await node.startAgent();
  const web = await node.addPod("web");
  await node.addPod("api");

  const { code, output } = await node.call("ADD", "web");
  t.is(code, 0, JSON.stringify(output));
  t.is((await node.call("ADD", "api")).code, 0);
  const device = output.interfaces[0].name as string;

  const [eth0] = await node.ipJson(web, "addr show dev eth0");
  t.is(eth0.mtu, 1420);
  t.is(eth0.address, output.interfaces[1].mac);
  const global = eth0.addr_info.filter((one: { scope: string }) => one.scope === "global");
  t.deepEqual(
    global.map((one: { local: string; prefixlen: number }) => `${one.local}/${one.prefixlen}`),
    ["10.77.1.2/32", "fd00:77:1::2/128"],
  );
  t.regex(await node.ip(web, "route show default"), /^default via 169\.254\.1\.1 dev eth0 /);
  t.regex(await node.ip(web, "-6 route show default"), /^default via fe80::1 dev eth0 /);
  t.regex(await node.ip(web, "neigh show"), /169\.254\.1\.1 .*PERMANENT/);
  t.regex(await node.ip(web, "link show lo"), /LOOPBACK,UP/);
  const [route] = await node.ipJson(node.netns, "route show 10.77.1.2");
  t.is(route.dev, device);
  t.is(String(route.protocol), "158");
  const [link] = await node.ipJson(node.netns, `link show dev ${device}`);
  t.is(link.ifalias, "tandem:shop/web");

  for (const address of ["10.77.1.2", "fd00:77:1::2"]) t.true(await node.pings(node.netns, address), address);
  for (const address of ["192.0.2.1", "2001:db8::1", "10.77.1.3", "fd00:77:1::3"]) {
    t.true(await node.pings(web, address), address);
  }

  t.is((await node.call("CHECK", "web", { prevResult: output })).code, 0);
  await node.ip(web, "route del default");
  const check = await node.call("CHECK", "web", { prevResult: output });
  t.is(check.code, 1);
  t.regex(check.output.msg, /no default route via 169\.254\.1\.1/);

  t.is((await node.call("DEL", "web")).code, 0);
  t.is((await node.call("DEL", "web")).code, 0);
  t.notRegex(await node.ip(node.netns, "link show"), new RegExp(device));
  t.deepEqual(await node.ipJson(node.netns, "route show 10.77.1.2"), []);
});

test("a DEL while no agent runs succeeds, is kept, and is done by the next agent; other pods stay", async (t) => {
  const node = await TestNode.create("del");
  t.teardown(() => node.remove());
  await node.startAgent();
  for (const pod of ["gone", "lost", "kept"]) {
    await node.addPod(pod);
    t.is((await node.call("ADD", pod)).code, 0);
  }
  await node.killAgent();

  const add = await node.call("ADD", "late");
  t.is(add.output.code, 11);
  t.true(add.output.msg.includes(node.socket));
  t.is((await node.call("STATUS", "late")).output.code, 50);
  t.is((await node.call("GC", "late", { "cni.dev/valid-attachments": [] })).code, 0);
  t.is((await node.call("DEL", "gone")).code, 0);
  t.is((await node.call("DEL", "gone")).code, 0);
  t.is((await readdir(join(node.stateDir, "cni-deletes"))).length, 1);
  await node.removePod("lost"); // the namespace dies, and its link with it
  t.true(await node.pings(node.netns, "10.77.1.4"), "without agent");

  await node.startAgent();
  t.deepEqual(await readdir(join(node.stateDir, "cni-deletes")), []);
  t.deepEqual(await readdir(join(node.stateDir, "cni")), ["container-kept.json"]);
  const links = await node.ipJson(node.netns, "link show");
  t.deepEqual(
    links.flatMap((link) => link.ifalias ?? []),
    ["tandem:shop/kept"],
  );
  t.true(await node.pings(node.netns, "10.77.1.4"), "with the new agent");
  t.is((await node.call("STATUS", "kept")).code, 0);
  const gc = { "cni.dev/valid-attachments": [] };
  t.is((await node.call("GC", "kept", gc)).code, 0);
  t.deepEqual(await readdir(join(node.stateDir, "cni")), []);
});

test("all versions of CNI work, several ADDs run at once, and a used namespace is refused without a trace", async (t) => {
  const node = await TestNode.create("ver");
  t.teardown(() => node.remove());
  await node.startAgent();
  const versions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
  const results = await Promise.all(
    versions.map(async (cniVersion, index) => {
      await node.addPod(`p${index}`);
      return node.call("ADD", `p${index}`, { cniVersion });
    }),
  );
  for (const [index, { code, output }] of results.entries()) {
    t.is(code, 0, JSON.stringify(output));
    t.is(output.cniVersion, versions[index]);
  }
  t.is(new Set(results.map(({ output }) => output.ips[0].address)).size, versions.length);
  const again = await node.call("ADD", "p0", {}, { CNI_CONTAINERID: "another" });
  t.is(again.code, 1);
  t.regex(again.output.msg, /EEXIST/);
  t.is((await node.ipJson(node.netns, "link show")).filter((link) => link.ifname.startsWith("tdm")).length, 4);
  t.is((await readdir(join(node.stateDir, "cni"))).length, 4);
});

test("the plugin alone answers VERSION, and names what is missing or wrong", async (t) => {
  const node = await TestNode.create("env");
  t.teardown(() => node.remove());
  const version = await node.call("VERSION", "web", { cniVersion: "0.4.0" });
  t.deepEqual(version.output, { cniVersion: "0.4.0", supportedVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] });
  const missing = await node.call("ADD", "web", {}, { CNI_IFNAME: "", CNI_NETNS: "" });
  t.is(missing.output.code, 4);
  t.regex(missing.output.msg, /CNI_IFNAME, CNI_NETNS/);
  t.is((await node.call("NONSENSE", "web")).output.code, 4);
  t.is((await node.call("ADD", "web", { socket: 5 })).output.code, 7);
});

test("at most 256 deletions are kept; the next one is told to try again", async (t) => {
  const node = await TestNode.create("full");
  t.teardown(() => node.remove());
  const ids = Array.from({ length: 257 }, (_, i) => `c${i}`);
  for (const id of ids.slice(0, 256)) t.is((await node.call("DEL", "web", {}, { CNI_CONTAINERID: id })).code, 0);
  t.is((await node.call("DEL", "web", {}, { CNI_CONTAINERID: "c256" })).output.code, 11);
  t.is((await node.call("DEL", "web", {}, { CNI_CONTAINERID: "c0" })).code, 0);
});

test("an agent that does not answer in time, or with an error, is no success, and a DEL is kept all the same", async (t) => {
  const node = await TestNode.create("slow");
  t.teardown(() => node.remove());
  let answer: string | null = null;
  const server = createServer((request, response) => {
    request.resume();
    if (answer !== null) response.writeHead(503, { "transfer-encoding": "chunked" }).end(answer);
  });
  await new Promise<void>((resolve) => server.listen(node.socket, resolve));
  t.teardown(() => server.close());
  const impatient = { timeoutSeconds: 1 };
  const add = await node.call("ADD", "web", impatient);
  t.is(add.output.code, 11);
  t.regex(add.output.details, /no answer in time/);
  t.is((await node.call("DEL", "web", impatient)).code, 0);
  t.is((await readdir(join(node.stateDir, "cni-deletes"))).length, 1);
  const config = { timeoutSeconds: 60 };
  answer = '{"error":{"code":"AGENT_STARTING"}}';
  t.is((await node.call("DEL", "web", config)).code, 0, "the agent could not: kept");
  await new DeleteQueue(node.stateDir).keep({
    command: "DEL",
    containerId: "container-web",
    ifname: "eth0",
    netns: "",
    args: "",
    path: "",
    config: "{}",
  });
  t.is((await readdir(join(node.stateDir, "cni-deletes"))).length, 1, "one file, whether plugin or agent keeps it");
  const refused = await node.call("ADD", "web", config);
  t.is(refused.output.code, 11);
  t.regex(refused.output.details, /AGENT_STARTING/);
  t.is((await node.call("STATUS", "web", config)).output.code, 50);
});
