import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Installation, InstallationKeeper } from "../../../src/cni/install/index.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import type { Problem } from "../../../src/model/status.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** A machine's folders, with the configuration and the plugins of whoever was there before. */
async function machine(t: ExecutionContext) {
  const root = await mkdtemp(join(tmpdir(), "tandem-install-"));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const [bin, conf, stateDir] = [join(root, "bin"), join(root, "net.d"), join(root, "state")];
  for (const folder of [bin, conf, stateDir]) await mkdir(folder);
  const plugin = join(root, "built");
  await writeFile(plugin, "plugin, version 1");
  const config = {
    socket: "/run/tandem/agent.sock",
    stateDir,
    cniBinDir: bin,
    cniConfDir: conf,
    cniConfName: "05-tandem.conflist",
    cniVersion: "1.0.0",
    cniChained: ["portmap"],
  };
  const installation = (more: Partial<typeof config> = {}) =>
    new Installation({ plugin, config: { ...config, ...more }, clock: systemClock });
  const conflist = async () => JSON.parse(await readFile(join(conf, "05-tandem.conflist"), "utf8")) as object;
  return { root, bin, conf, stateDir, plugin, installation, conflist };
}

const codes = (problems: readonly Problem[]) => problems.map(({ code }) => code);

test("the plugin and its configuration are put into the runtime's folders, whole, and again without a change", async (t) => {
  const { bin, conf, stateDir, plugin, installation, conflist } = await machine(t);
  await writeFile(join(bin, "portmap"), "x");
  t.deepEqual(await installation().install(false), []);
  t.deepEqual(await conflist(), {
    cniVersion: "1.0.0",
    name: "tandem",
    plugins: [
      { type: "tandem-cni", socket: "/run/tandem/agent.sock", stateDir },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  });
  t.is((await stat(join(bin, "tandem-cni"))).mode & 0o777, 0o755);
  const before = await stat(join(conf, "05-tandem.conflist"));
  t.deepEqual(await installation().install(false), []);
  t.is((await stat(join(conf, "05-tandem.conflist"))).ino, before.ino, "not written again");
  await writeFile(plugin, "plugin, version 2");
  t.deepEqual(await installation().install(false), []);
  t.is(await readFile(join(bin, "tandem-cni"), "utf8"), "plugin, version 2", "an upgrade is no change by others");
  t.deepEqual((await readdir(bin)).sort(), ["portmap", "tandem-cni"]);
  t.deepEqual(await readdir(conf), ["05-tandem.conflist"]);
  t.true((await installation().state()).installed);
});

test("a chained plugin that is not there is left out and told, and put in when it comes", async (t) => {
  const { bin, installation, conflist } = await machine(t);
  t.deepEqual(codes(await installation().install(false)), ["CNI_CHAINED_MISSING"]);
  t.is(((await conflist()) as { plugins: object[] }).plugins.length, 1);
  await writeFile(join(bin, "portmap"), "x");
  t.deepEqual(await installation().install(false), []);
  t.is(((await conflist()) as { plugins: object[] }).plugins.length, 2);
});

test("what stood in the way is kept and comes back; what came later by name is not touched", async (t) => {
  const { bin, conf, installation } = await machine(t);
  await writeFile(join(conf, "00-other.conflist"), "first");
  await writeFile(join(conf, "05-tandem.conflist"), "by hand");
  await writeFile(join(conf, "10-kuberouter.conflist"), "later");
  await writeFile(join(conf, "00-README"), "no configuration");
  await writeFile(join(bin, "tandem-cni"), "older");
  const names = async () => [...(await readdir(conf)), ...(await readdir(bin))].sort();
  const was = await names();
  await installation({ cniChained: [] }).install(false);
  t.deepEqual(await names(), [
    "00-README",
    "00-other.conflist.tandem-backup",
    "05-tandem.conflist",
    "05-tandem.conflist.tandem-backup",
    "10-kuberouter.conflist",
    "tandem-cni",
    "tandem-cni.tandem-backup",
  ]);
  const { left, restored } = await installation().uninstall(true);
  t.deepEqual(left, []);
  t.is(restored.length, 3);
  t.deepEqual(await names(), was);
  t.is(await readFile(join(conf, "05-tandem.conflist"), "utf8"), "by hand");
  t.is(await readFile(join(bin, "tandem-cni"), "utf8"), "older");
  t.deepEqual(await installation().uninstall(true), { removed: [], restored: [], left: [] });
});

test("what others change afterwards is told and left alone, also by uninstall, until it is installed by hand", async (t) => {
  const { conf, installation } = await machine(t);
  const ours = join(conf, "05-tandem.conflist");
  const tandem = installation({ cniChained: [] });
  await tandem.install(false);
  await writeFile(ours, "edited");
  await writeFile(join(conf, "01-late.conf"), "late");
  const problems = await tandem.install(false);
  t.deepEqual(codes(problems), ["CNI_FILE_CHANGED", "CNI_CONFIG_BEFORE"]);
  t.deepEqual([problems[0]?.object, problems[1]?.object], [ours, join(conf, "01-late.conf")]);
  t.is(await readFile(ours, "utf8"), "edited");
  t.false((await tandem.state()).installed);

  t.deepEqual(await tandem.install(true), []);
  t.true((await tandem.state()).installed);
  await rm(ours);
  t.deepEqual(await tandem.install(false), [], "a file that went is written again");
  await writeFile(ours, "edited again");
  const { left } = await tandem.uninstall(true);
  t.deepEqual(left, [ours, `${ours}.tandem-backup`]);
  t.is(await readFile(ours, "utf8"), "edited again");
});

test("an installation that failed half-way still takes over at the next try, without anybody's help", async (t) => {
  const { conf, bin, installation } = await machine(t);
  await writeFile(join(conf, "00-other.conflist"), "first");
  await writeFile(join(conf, "01-other.conflist"), "second");
  // The second cannot be put aside: its place is taken by a folder, which no file can be renamed to.
  await mkdir(join(conf, "01-other.conflist.tandem-backup"));
  const tandem = installation({ cniChained: [] });
  await t.throwsAsync(tandem.install(false), { code: "CNI_INSTALL" });
  t.true((await readdir(bin)).includes("tandem-cni"));
  await rm(join(conf, "01-other.conflist.tandem-backup"), { recursive: true });
  t.deepEqual(await tandem.install(false), []);
  const { installed, before } = await tandem.state();
  t.deepEqual({ installed, before }, { installed: true, before: [] });
  await writeFile(join(conf, "00-other.conflist"), "back");
  t.deepEqual(codes(await tandem.install(false)), ["CNI_CONFIG_BEFORE"], "and from then on it does not");
});

test("a record of an agent that kept none of its end is for what it has", async (t) => {
  const { conf, stateDir, installation } = await machine(t);
  const tandem = installation({ cniChained: [] });
  await tandem.install(false);
  const path = join(stateDir, "cni-install.json");
  const { files } = JSON.parse(await readFile(path, "utf8")) as { readonly files: Readonly<Record<string, string>> };
  await writeFile(join(conf, "00-other.conflist"), "first");
  await writeFile(path, JSON.stringify({ version: 1, files }));
  t.deepEqual(codes(await tandem.install(false)), ["CNI_CONFIG_BEFORE"], "it was done");
  const [plugin = ["", ""]] = Object.entries(files);
  await writeFile(path, JSON.stringify({ version: 1, files: Object.fromEntries([plugin]) }));
  t.deepEqual(await tandem.install(false), [], "it had come to the plugin only");
  t.deepEqual((await tandem.state()).before, []);
});

test("what uninstall took away the agent does not put back, until it is installed by hand", async (t) => {
  const { conf, bin, installation } = await machine(t);
  const tandem = installation({ cniChained: [] });
  await tandem.install(false);
  await tandem.uninstall(true);
  const agent = installation({ cniChained: [] });
  t.deepEqual(codes(await agent.install(false)), ["CNI_WITHDRAWN"]);
  t.deepEqual([await readdir(conf), await readdir(bin)], [[], []]);
  t.true((await agent.state()).withdrawn);
  t.deepEqual(await tandem.install(true), []);
  t.deepEqual(await agent.install(false), []);
  t.false((await agent.state()).withdrawn);
  await tandem.uninstall(false);
  t.deepEqual(await agent.install(false), [], "a node that was cleaned up is as new");
});

test("a hidden configuration comes before ours too, and a folder with such a name is none", async (t) => {
  const { conf, installation } = await machine(t);
  await mkdir(join(conf, "00-folder.conf"));
  await writeFile(join(conf, ".99-hidden.conflist"), "hidden");
  const tandem = installation({ cniChained: [] });
  t.deepEqual((await tandem.state()).before, [join(conf, ".99-hidden.conflist")]);
  await tandem.install(false);
  t.deepEqual((await readdir(conf)).sort(), [
    ".99-hidden.conflist.tandem-backup",
    "00-folder.conf",
    "05-tandem.conflist",
  ]);
});

test("modes that others changed are set right again", async (t) => {
  const { conf, bin, installation } = await machine(t);
  const [plugin, ours] = [join(bin, "tandem-cni"), join(conf, "05-tandem.conflist")];
  const tandem = installation({ cniChained: [] });
  const modes = async () => Promise.all([plugin, ours].map(async (path) => (await stat(path)).mode & 0o777));
  await tandem.install(false);
  t.deepEqual(await modes(), [0o755, 0o600]);
  await chmod(plugin, 0o644);
  await chmod(ours, 0o666);
  t.false((await tandem.state()).installed);
  t.deepEqual(await tandem.install(false), []);
  t.deepEqual(await modes(), [0o755, 0o600]);
});

test("a folder that the settings no longer name gets back what it had", async (t) => {
  const { root, conf, installation } = await machine(t);
  await writeFile(join(conf, "00-other.conflist"), "first");
  await installation({ cniChained: [] }).install(false);
  const elsewhere = join(root, "elsewhere");
  await mkdir(elsewhere);
  await installation({ cniChained: [], cniConfDir: elsewhere }).install(false);
  t.deepEqual(await readdir(conf), ["00-other.conflist"]);
  t.deepEqual(await readdir(elsewhere), ["05-tandem.conflist"]);
});

test("a command that uninstalls while the agent looks again and again is not undone", async (t) => {
  const { conf, bin, installation } = await machine(t);
  await writeFile(join(conf, "00-other.conflist"), "first");
  const [agent, command] = [installation({ cniChained: [] }), installation({ cniChained: [] })];
  await agent.install(false);
  const looks = Array.from({ length: 20 }, () => agent.install(false));
  const [{ restored }] = await Promise.all([command.uninstall(true), ...looks]);
  t.deepEqual(restored, [join(conf, "00-other.conflist")]);
  await agent.install(false);
  t.deepEqual([await readdir(conf), await readdir(bin)], [["00-other.conflist"], []]);
});

test("a file that comes back is put aside again: the same content once, another one beside it", async (t) => {
  const { conf, installation } = await machine(t);
  const theirs = join(conf, "00-daemon.conflist");
  const tandem = installation({ cniChained: [] });
  const backups = async () => (await tandem.state()).backups.map((path) => path.slice(conf.length + 1));
  const comesBack = async (content: string) => {
    await writeFile(theirs, content);
    t.deepEqual(codes(await tandem.install(false)), ["CNI_CONFIG_BEFORE"]);
    t.deepEqual(await tandem.install(true), []);
  };
  await writeFile(theirs, "version 1");
  await tandem.install(false);
  await comesBack("version 1");
  t.deepEqual(await backups(), ["00-daemon.conflist.tandem-backup"]);
  await comesBack("version 2");
  await comesBack("version 2");
  t.deepEqual(await backups(), ["00-daemon.conflist.tandem-backup", "00-daemon.conflist.tandem-backup.2"]);
  await comesBack("version 1");
  t.deepEqual(await backups(), ["00-daemon.conflist.tandem-backup.2", "00-daemon.conflist.tandem-backup.3"]);
  const { restored, left } = await tandem.uninstall(true);
  t.deepEqual(restored, [theirs]);
  t.is(await readFile(theirs, "utf8"), "version 1", "what was there last");
  t.deepEqual(left, [`${theirs}.tandem-backup.2`]);
  t.is(await readFile(`${theirs}.tandem-backup.2`, "utf8"), "version 2");
});

test("another name by setting: the file of the former name goes", async (t) => {
  const { conf, installation } = await machine(t);
  await installation({ cniChained: [] }).install(false);
  t.deepEqual(await installation({ cniChained: [], cniConfName: "20-tandem.conflist" }).install(false), []);
  t.deepEqual(await readdir(conf), ["20-tandem.conflist"]);
});

test("a folder that is missing or no folder is a problem with a remedy, tried again, and mended when it is", async (t) => {
  const { conf, installation } = await machine(t);
  await rm(conf, { recursive: true });
  await writeFile(conf, "a file");
  const clock = new ManualClock();
  let told: readonly Problem[] = [];
  let reports = 0;
  const conditions = {
    report: (_topic: string, problems: readonly Problem[]) => {
      told = problems;
      reports++;
    },
  };
  const keeper = new InstallationKeeper({ installation: installation({ cniChained: [] }), conditions, clock });
  t.teardown(() => keeper.stop());
  await keeper.start();
  t.deepEqual(codes(told), ["CNI_INSTALL"]);
  t.regex(told[0]?.remedy ?? "", /cniConfDir/);
  await rm(conf);
  await mkdir(conf);
  await clock.advance(30_000);
  while (reports < 2) await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(told, []);
  t.deepEqual(await readdir(conf), ["05-tandem.conflist"]);
  await keeper.stop();
});
