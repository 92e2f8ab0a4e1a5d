import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { DeleteQueue } from "../../../src/cni/delete-queue.ts";
import { add, del, makeNode } from "./support.ts";

test("ADD gives addresses, routes and the uplink's MTU, and the endpoint becomes a fact", async (t) => {
  const node = makeNode();
  const { call, store } = await node.start();
  const { exitCode, output } = await call(add("web", { config: { dns: { nameservers: ["10.96.0.10"] } } }));
  t.is(exitCode, 0);
  t.deepEqual(
    output.ips.map((ip: { address: string; gateway: string; interface: number }) => [
      ip.address,
      ip.gateway,
      ip.interface,
    ]),
    [
      ["10.7.1.2/32", "169.254.1.1", 1],
      ["fd00:7:1::2/128", "fe80::1", 1],
    ],
  );
  t.deepEqual(output.routes, [
    { dst: "0.0.0.0/0", gw: "169.254.1.1" },
    { dst: "::/0", gw: "fe80::1" },
  ]);
  t.is(output.interfaces[1].sandbox, "/run/netns/web");
  t.is(output.interfaces[1].mtu, 1400);
  t.deepEqual(output.dns, { nameservers: ["10.96.0.10"] });
  const [row] = [...store.endpoints.values()];
  t.is(row?.pod, "shop/web");
  t.is(row?.id, 1);
  t.is(row?.ifindex, node.kernel.at(null).links[0]?.index);
});

test("results have the shape of the version asked for", async (t) => {
  const { call } = await makeNode().start();
  for (const [index, cniVersion] of ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].entries()) {
    const { output } = await call(add(`pod${index}`, { config: { cniVersion } }));
    t.is(output.cniVersion, cniVersion);
    t.is(output.ips[1].version, cniVersion.startsWith("0.") ? "6" : undefined);
    t.is(output.interfaces[0].mtu, cniVersion === "1.1.0" ? 1400 : undefined);
  }
  t.is((await call(add("old", { config: { cniVersion: "0.2.0" } }))).output.code, 1);
});

test("ADD of the same attachment again is the same answer, of a different one an error", async (t) => {
  const { call } = await makeNode().start();
  const first = await call(add("web"));
  t.deepEqual(await call(add("web")), first);
  const other = await call(add("web", { ifname: "net1" }));
  t.is(other.output.code, 104);
  t.regex(other.output.msg, /eth0/);
});

test("a failure at any step leaves no link, address, number, row or file", async (t) => {
  for (const step of ["veth", "link", "address", "neighbour", "route", "ready"] as const) {
    const node = makeNode(["10.7.1.0/30"]);
    const failing = await node.start({
      ready: async () => {
        if (step === "ready") throw new Error("the map is full");
      },
    });
    if (step !== "ready") node.kernel.failNext = step;
    const { exitCode, output } = await failing.call(add("web"));
    t.is(exitCode, 1, step);
    t.regex(output.msg, step === "ready" ? /map is full/ : /EPERM|EEXIST/, step);
    t.deepEqual(node.kernel.at(null).links, [], step);
    t.is(failing.store.endpoints.size, 0, step);
    t.deepEqual(await readdir(join(node.stateDir, "cni")), [], step);
    t.is(failing.cni.addresses()[0]?.used, 0, step);
  }
});

test("a pod whose record cannot be written is not added, and the runtime hears which file it was and why", async (t) => {
  const node = makeNode();
  const { call, cni, store } = await node.start();
  const folder = join(node.stateDir, "cni");
  await rm(folder, { recursive: true });
  const { exitCode, output } = await call(add("web"));
  t.is(exitCode, 1);
  t.is(output.code, 5);
  t.regex(output.msg, /^STATE_DIR: .*cni\/web\.json: the endpoint of Pod shop\/web cannot be written: .*ENOENT/);
  t.regex(output.details, /free some space/);
  t.deepEqual(node.kernel.at(null).links, []);
  t.deepEqual([store.endpoints.size, cni.addresses()[0]?.used], [0, 0]);
  await mkdir(folder);
  t.is((await call(add("web"))).exitCode, 0);
});

test("ADD waits for the pod's policy; a pod whose policy does not come is taken back with code 11", async (t) => {
  const node = makeNode();
  const { call } = await node.start({ readyTimeoutMs: 20, ready: () => new Promise(() => undefined) });
  const { output } = await call(add("web"));
  t.is(output.code, 11);
  t.deepEqual(node.kernel.at(null).links, []);
});

test("ADD waits for its own device: another sandbox of the same pod that is ready is not meant", async (t) => {
  const node = makeNode();
  const asked: number[] = [];
  const { call, store } = await node.start({ ready: async ({ ifindex }) => void asked.push(ifindex) });
  await call(add("web"));
  await call({ ...add("web"), containerId: "web-again", netns: "/run/netns/web-again" });
  const indexes = [...store.endpoints.values()].map(({ ifindex }) => ifindex);
  t.deepEqual(asked, indexes);
  t.is(new Set(asked).size, 2);
});

test("a DEL ends the ADD of its container that still waits", async (t) => {
  const node = makeNode();
  let waits = () => {};
  const waiting = new Promise<void>((resolve) => {
    waits = resolve;
  });
  const ready = () => {
    waits();
    return new Promise<void>(() => undefined);
  };
  const { call } = await node.start({ ready });
  const adding = call(add("web"));
  await waiting;
  t.is((await call(del("web"))).exitCode, 0);
  t.is((await adding).output.code, 11);
  t.deepEqual(node.kernel.at(null).links, []);
});

test("DEL succeeds however often, without a namespace and with a configuration that nobody can read", async (t) => {
  const node = makeNode();
  const { call, store, cni } = await node.start();
  await call(add("web"));
  for (let i = 0; i < 2; i++) t.is((await call({ ...del("web"), config: "{" })).exitCode, 0);
  t.is((await call(del("never-there"))).exitCode, 0);
  t.is(store.endpoints.size, 0);
  t.deepEqual(node.kernel.at(null), { links: [], addresses: [], routes: [] });
  t.is(cni.addresses()[0]?.used, 0);
});

test("an agent started again knows its endpoints and their addresses", async (t) => {
  const node = makeNode();
  const before = await node.start();
  const first = await before.call(add("web"));
  const after = await node.start();
  t.deepEqual([...after.store.endpoints], [...before.store.endpoints]);
  t.deepEqual(await after.call(add("web")), first);
  const second = await after.call(add("api"));
  t.not(second.output.ips[0].address, first.output.ips[0].address);
  t.is(after.store.endpoints.get("api")?.id, 2);
});

test("at start, files without a device and devices without a file go, and other devices stay", async (t) => {
  const node = makeNode();
  const before = await node.start();
  await before.call(add("rebooted"));
  node.kernel.at(null).links = [];
  node.kernel.addLink(null, { name: "tdm0123456789a", alias: "tandem:shop/crashed" });
  node.kernel.addLink(null, { name: "tdm-of-others", alias: "" });
  await writeFile(join(node.stateDir, "cni", "torn.json"), '{"version":1');
  const after = await node.start();
  t.is(after.store.endpoints.size, 0);
  t.deepEqual(
    node.kernel.at(null).links.map((link) => link.name),
    ["tdm-of-others"],
  );
  t.deepEqual(await readdir(join(node.stateDir, "cni")), ["torn.json.broken"]);
});

test("pods of an agent that lost its state are cut off: without their policy they must not go on", async (t) => {
  const node = makeNode();
  const before = await node.start();
  for (const pod of ["web", "api"]) await before.call(add(pod));
  await rm(join(node.stateDir, "cni"), { recursive: true });
  const { call, cni, store } = await node.start();
  t.deepEqual(node.kernel.at(null).links, []);
  t.is(store.endpoints.size, 0);
  t.is(cni.addresses()[0]?.used, 0);
  t.is((await call({ ...del("web") })).exitCode, 0, "and their sandboxes can be removed");
});

test("an endpoint whose device went without a DEL is forgotten, and its address free", async (t) => {
  const node = makeNode();
  const waits = { on: false };
  const ready = async () => {
    while (waits.on) await new Promise((resolve) => setImmediate(resolve));
  };
  const { call, cni, store } = await node.start({ ready });
  for (const pod of ["web", "api"]) await call(add(pod));
  const host = node.kernel.at(null);
  const gone = host.links[0];
  host.links = host.links.filter((link) => link !== gone);
  waits.on = true;
  const adding = call(add("late"));
  while (!store.endpoints.has("late")) await new Promise((resolve) => setImmediate(resolve));
  await cni.sweep();
  waits.on = false;
  t.is((await adding).exitCode, 0, "one under way is left alone");
  t.deepEqual([...store.endpoints.keys()], ["api", "late"]);
  t.deepEqual((await readdir(join(node.stateDir, "cni"))).sort(), ["api.json", "late.json"]);
  t.is(cni.addresses()[0]?.used, 2);
  t.is((await call(del("web"))).exitCode, 0);
  await cni.sweep();
  t.is(store.endpoints.size, 2);
});

test("a deletion that meets a starting agent is kept and done once the endpoints are known, at once where they are", async (t) => {
  const node = makeNode();
  const before = await node.start();
  for (const pod of ["web", "api"]) t.is((await before.call(add(pod))).exitCode, 0);
  const { cni, store } = node.prepare();
  await cni.keepDelete(del("web"));
  await cni.keepDelete(del("web"));
  const queue = join(node.stateDir, "cni-deletes");
  t.is((await readdir(queue)).length, 1);
  await cni.restore();
  t.deepEqual(
    [...store.endpoints.values()].map(({ pod }) => pod),
    ["shop/api"],
  );
  await cni.keepDelete(del("api"));
  t.is(store.endpoints.size, 0);
  t.deepEqual(await readdir(queue), []);
  await t.throwsAsync(cni.keepDelete({ ...del("web"), containerId: "../web" }), { code: "CNI_REQUEST" });
});

test("a deletion that is kept by several calls at once is kept once, and whole", async (t) => {
  const { stateDir } = makeNode();
  const queue = new DeleteQueue(stateDir);
  await t.notThrowsAsync(Promise.all(Array.from({ length: 20 }, () => queue.keep(del("web")))));
  const seen: string[] = [];
  const { replayed, problems } = await queue.drain(async ({ containerId }) => void seen.push(containerId));
  t.deepEqual([seen, replayed, problems], [["web"], 1, []]);
});

test("deletions queued while the agent was away are done at its start, and unreadable ones are put aside", async (t) => {
  const node = makeNode();
  await (await node.start()).call(add("web"));
  const queue = join(node.stateDir, "cni-deletes");
  await mkdir(queue);
  await writeFile(join(queue, "1.json"), JSON.stringify(del("web")));
  await writeFile(join(queue, "2.json"), "not json");
  const { store } = await node.start();
  t.is(store.endpoints.size, 0);
  t.deepEqual(node.kernel.at(null).links, []);
  t.deepEqual(await readdir(queue), ["2.json.broken"]);
});

test("CHECK sees a lost route and an unknown container", async (t) => {
  const node = makeNode();
  const { call } = await node.start();
  const { output: prevResult } = await call(add("web"));
  const check = { ...add("web", { config: { prevResult } }), command: "CHECK" };
  t.deepEqual(await call(check), { exitCode: 0, output: null });
  node.kernel.at(null).routes.pop();
  t.regex((await call(check)).output.msg, /the node has no route to fd00:7:1::2/);
  t.is((await call({ ...check, containerId: "other" })).output.code, 3);
  t.is((await call({ ...add("web"), command: "CHECK" })).output.code, 7);
});

test("GC removes what is not in valid-attachments, of its own network only", async (t) => {
  const { call, store } = await makeNode().start();
  for (const name of ["kept", "gone"]) await call(add(name));
  await call(add("foreign", { config: { name: "another" } }));
  const valid = [{ containerID: "kept", ifname: "eth0" }];
  const gc = { ...add("", { config: { "cni.dev/valid-attachments": valid } }), command: "GC", containerId: "" };
  t.is((await call(gc)).exitCode, 0);
  t.deepEqual([...store.endpoints.keys()].sort(), ["foreign", "kept"]);
});

test("GC takes null for an empty list, as runtimes in Go write it, and no list for a mistake", async (t) => {
  const { call, store } = await makeNode().start();
  await call(add("web"));
  const gc = (config: object) => ({ ...add("", { config }), command: "GC", containerId: "" });
  t.is((await call(gc({}))).output.code, 7);
  t.is(store.endpoints.size, 1);
  t.is((await call(gc({ "cni.dev/valid-attachments": null }))).exitCode, 0);
  t.is(store.endpoints.size, 0);
});

test("CHECK is content with what the rest of a chain added to the result", async (t) => {
  const { call } = await makeNode().start();
  const { output } = await call(add("web"));
  const prevResult = {
    ...output,
    interfaces: [...output.interfaces, { name: "ifb0", mac: "02:00:00:00:00:01" }],
    ips: [...output.ips, { address: "198.51.100.7/24", interface: 2 }],
  };
  const check = (config: object) => call({ ...add("web", { config }), command: "CHECK" });
  t.is((await check({ prevResult })).exitCode, 0);
  t.is((await check({ prevResult: { ...prevResult, ips: prevResult.ips.slice(1) } })).output.code, 105);
});

test("GC goes on after an attachment that could not be removed, and says that there was one", async (t) => {
  const node = makeNode();
  const { call, store } = await node.start();
  for (const name of ["stuck", "gone"]) await call(add(name));
  node.kernel.failNext = "link";
  const gc = { ...add("", { config: { "cni.dev/valid-attachments": [] } }), command: "GC", containerId: "" };
  t.is((await call(gc)).output.code, 103);
  t.deepEqual([...store.endpoints.keys()], ["stuck"]);
  t.is((await call(gc)).exitCode, 0);
  t.is(store.endpoints.size, 0);
});

test("STATUS is an error until the agent is ready and the node has a pod CIDR", async (t) => {
  const status = { ...add("x"), command: "STATUS" };
  t.is((await (await makeNode().start()).call(status)).exitCode, 0);
  const unready = await makeNode().start({ notReady: () => "the datapath is starting" });
  t.deepEqual((await unready.call(status)).output.code, 50);
  const bare = await makeNode([]).start();
  t.regex((await bare.call(status)).output.msg, /no pod CIDR/);
  t.is((await bare.call(add("web"))).output.code, 11);
});

test("a call that cannot be understood is told what is wrong with it", async (t) => {
  const { call } = await makeNode().start();
  const cases = [
    [{ ...add("web"), args: "" }, 4, /K8S_POD_NAMESPACE/],
    [{ ...add("web"), args: "nonsense" }, 4, /KEY=VALUE/],
    [{ ...add("web"), containerId: "../etc" }, 4, /CNI_CONTAINERID|\.\.\/etc/],
    [{ ...add("web"), ifname: "a/b" }, 4, /a\/b/],
    [{ ...add("web"), netns: "web" }, 4, /absolute/],
    [{ ...add("web"), netns: "/proc/1/ns/net" }, 103, /node's own network namespace/],
    [{ ...add("web"), config: "{" }, 6, /JSON/],
    [add("web", { config: { dns: { nameservers: "10.0.0.1" } } }), 7, /dns\.nameservers/],
    [add("web", { config: { prevResult: {} } }), 7, /prevResult/],
    [add("web", { config: { runtimeConfig: { ips: ["10.7.1.300"] } } }), 7, /10\.7\.1\.300/],
  ] as const;
  for (const [request, code, message] of cases) {
    const { exitCode, output } = await call(request);
    t.is(exitCode, 1);
    t.is(output.code, code, output.msg);
    t.regex(output.msg, message);
  }
});

test("a requested address is given, by CNI_ARGS, runtimeConfig and args; a taken one names its holder", async (t) => {
  const { call } = await makeNode().start();
  const byArgs = await call(add("a", { args: ";IP=10.7.1.77" }));
  t.is(byArgs.output.ips[0].address, "10.7.1.77/32");
  t.regex(byArgs.output.ips[1].address, /^fd00:7:1::/);
  const byRuntime = await call(add("b", { config: { runtimeConfig: { ips: ["10.7.1.78/24", "fd00:7:1::78"] } } }));
  t.deepEqual([byRuntime.output.ips[0].address, byRuntime.output.ips[1].address], ["10.7.1.78/32", "fd00:7:1::78/128"]);
  const taken = await call(add("c", { config: { args: { cni: { ips: ["10.7.1.77"] } } } }));
  t.is(taken.output.code, 100);
  t.regex(taken.output.msg, /10\.7\.1\.77 is in use by pod shop\/a/);
  t.is((await call(add("d", { args: ";IP=192.0.2.1" }))).output.code, 101);
  t.is((await call(add("e", { args: ";IP=10.7.1.255" }))).output.code, 101);
});

test("concurrent ADDs get different addresses and numbers, and do not wait for each other", async (t) => {
  const { call, store } = await makeNode().start();
  const results = await Promise.all(Array.from({ length: 40 }, (_, i) => call(add(`pod${i}`))));
  t.is(new Set(results.map(({ output }) => output.ips[0].address)).size, 40);
  t.is(new Set([...store.endpoints.values()].map((row) => row.id)).size, 40);
});

test("an option of a pod is kept over restarts, by number or by name, and ends with the pod", async (t) => {
  const node = makeNode();
  const first = await node.start();
  await first.call(add("web"));
  await first.call(add("api"));
  const modes = (store: typeof first.store) =>
    [...store.endpoints.values()].map(({ pod, policyAuditMode }) => `${pod} ${policyAuditMode}`).sort();
  t.deepEqual(modes(first.store), ["shop/api null", "shop/web null"]);
  t.true(await first.cni.configure("shop/web", { policyAuditMode: true }));
  t.true(await first.cni.configure("2", { policyAuditMode: false }));
  t.false(await first.cni.configure("shop/nobody", { policyAuditMode: true }));
  t.deepEqual(modes(first.store), ["shop/api false", "shop/web true"]);

  const second = await node.start();
  t.deepEqual(modes(second.store), ["shop/api false", "shop/web true"]);
  t.true(await second.cni.configure("shop/web", { policyAuditMode: null }));
  await second.call(del("api"));
  await second.call(add("api"));
  t.deepEqual(modes((await node.start()).store), ["shop/api null", "shop/web null"]);
});

test("an endpoint file of an agent that had no options is read as one without", async (t) => {
  const node = makeNode();
  await (await node.start()).call(add("web"));
  const path = join(node.stateDir, "cni", "web.json");
  const { policyAuditMode: _, ...old } = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify(old));
  t.deepEqual(
    [...(await node.start()).store.endpoints.values()].map(({ pod, policyAuditMode }) => [pod, policyAuditMode]),
    [["shop/web", null]],
  );
});
