import { mkdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { findCgroupRoot } from "../../../src/lab/cgroups.ts";
import { LabError } from "../../../src/lab/errors.ts";
import { ipNamespaces, NamespaceServer } from "../../../src/lab/namespaces.ts";
import { inside, mustRun, run } from "../../../src/lab/run.ts";
import { findSandboxBinary } from "../../../src/lab/runtime.ts";

const binary = findSandboxBinary() ?? "";
const name = (which: string) => `tandem-t${process.pid}-${which}`;
const devices = async (netns: string) => JSON.parse(await mustRun(["ip", "-n", netns, "-json", "link"])) as unknown[];
const all = async () => (await mustRun(["ip", "netns", "list"])).split("\n").map((line) => line.split(" ")[0]);

test("it was built", (t) => t.not(binary, "", "npm run build:lab"));

test("a namespace of one process for all is as one of ip: its loopback device is up, and it goes with ip, too", async (t) => {
  const namespaces = new NamespaceServer(binary);
  t.teardown(() => namespaces.close());
  const [one, two, three] = [name("one"), name("two"), name("three")];
  t.teardown(() => Promise.all([one, two, three].map((netns) => ipNamespaces.delete(netns))));
  await Promise.all([namespaces.add(one), namespaces.add(two), ipNamespaces.add(three)]);
  for (const netns of [one, two]) t.deepEqual(await devices(netns), await devices(three));
  t.not(await inodeOf(one), await inodeOf(two));

  // Not one that is there, and those asked for besides all the same.
  const [again, fresh] = await Promise.allSettled([namespaces.add(one), namespaces.add(name("four"))]);
  t.is(fresh.status, "fulfilled");
  t.true(again.status === "rejected" && again.reason instanceof LabError);
  t.regex(again.status === "rejected" ? String(again.reason) : "", /LAB_NETNS: add tandem-.*EEXIST/);

  await Promise.all([one, three, name("four"), name("none")].map((netns) => namespaces.delete(netns)));
  await ipNamespaces.delete(two);
  const left = await all();
  for (const which of ["one", "two", "three", "four"]) t.false(left.includes(name(which)), which);
});

test("a process that has ended fails what is under way, and another one does the rest", async (t) => {
  const netns = name("after");
  const namespaces = new NamespaceServer(binary);
  t.teardown(() => namespaces.close());
  for (const each of [netns, name("lost")]) t.teardown(() => ipNamespaces.delete(each));
  const adding = namespaces.add(name("lost"));
  namespaces.close();
  await t.throwsAsync(adding, { message: /LAB_NETNS.*it was ended/ });
  await namespaces.add(netns);
  t.true((await all()).includes(netns));
  await Promise.all([namespaces.delete(netns), namespaces.delete(name("lost"))]);
  await t.throwsAsync(new NamespaceServer("/none").add(netns), { message: /LAB_NETNS.*ENOENT/ });
});

test("a command is in the namespace and the cgroup that were asked for, and its exit code is told", async (t) => {
  const netns = name("place");
  const cgroup = join(await findCgroupRoot(), netns);
  await ipNamespaces.add(netns);
  await mkdir(cgroup);
  t.teardown(async () => {
    await ipNamespaces.delete(netns);
    await rmdir(cgroup);
  });
  const script = "readlink /proc/self/ns/net; cat /proc/self/cgroup; exit 7";
  for (const place of [netns, null]) {
    const command = inside({ netns: place, cgroup }, ["sh", "-c", script]);
    t.is(command[0], binary);
    const { code, stdout } = await run(command);
    t.is(code, 7);
    const expected = place === null ? "self" : await inodeOf(place);
    const own = await mustRun(["readlink", "/proc/self/ns/net"]);
    t.is(stdout.split("\n")[0], expected === "self" ? own.trim() : expected);
    t.true(stdout.includes(`/${netns}\n`), stdout);
  }
  t.is((await run(inside({ netns, cgroup }, ["none-such"]))).code, 127);
  const nowhere = await run(inside({ netns: name("none"), cgroup }, ["true"]));
  t.not(nowhere.code, 0);
  t.regex(nowhere.stderr, /No such file/);
  t.regex(await readFile(join(cgroup, "cgroup.procs"), "utf8"), /^$/);
});

/** As /proc shows it. */
async function inodeOf(netns: string): Promise<string> {
  return (await mustRun(["ip", "netns", "exec", netns, "readlink", "/proc/self/ns/net"])).trim();
}
