/** A pod that is deleted while its ADD still waits for policy: neither call may hang, and nothing may stay. */
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { TestNode } from "./node.ts";

test("a DEL while ADD runs ends it, leaves no device, route, file or address, and the next ADD of that pod works", async (t) => {
  const node = await TestNode.create("race");
  t.teardown(() => node.remove());
  await node.startAgent();
  const web = await node.addPod("web");
  const hold = `${node.socket}.hold`;
  await writeFile(hold, "");
  const devices = async () =>
    (await node.ipJson(node.netns, "link show")).filter((link) => link.ifalias === "tandem:shop/web");

  const patient = { timeoutSeconds: 600 };
  const adding = node.call("ADD", "web", patient);
  while ((await devices()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const [device] = await devices();
  t.false(device.flags.includes("UP"), "no packet passes before the policy is there");

  t.is((await node.call("DEL", "web", patient)).code, 0);
  const added = await adding;
  t.is(added.code, 1);
  t.is(added.output.code, 11, JSON.stringify(added.output));
  t.deepEqual(await devices(), []);
  t.deepEqual(
    (await node.ipJson(web, "link show")).map((link) => link.ifname),
    ["lo"],
  );
  t.deepEqual(await node.ipJson(node.netns, "route show proto 158"), []);
  t.deepEqual(await readdir(join(node.stateDir, "cni")), []);

  await rm(hold);
  const again = await node.call("ADD", "web", patient);
  t.is(again.code, 0, JSON.stringify(again.output));
  const [{ address = "" } = {}] = again.output.ips as { address?: string }[];
  t.true(await node.pings(node.netns, address.replace("/32", "")), address);
  t.is((await node.call("DEL", "web", patient)).code, 0);
  t.deepEqual(await node.ipJson(node.netns, "route show proto 158"), []);
});
