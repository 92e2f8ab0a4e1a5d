/** `tandem cleanup`: what an agent leaves at work is gone afterwards, and nobody else's. */
import { access, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { run } from "../../src/lab/run.ts";
import { program } from "../../src/lab/runtime.ts";
import { pod, withLab } from "../support/lab.ts";

interface Step {
  readonly what: string;
  readonly object: string;
  readonly outcome: string;
  readonly failed: boolean;
}

interface Answer {
  readonly code: number;
  readonly stderr: string;
  readonly failed: readonly Step[];
  readonly what: ReadonlySet<string>;
}

async function cleanup(lab: Lab, ...flags: readonly string[]): Promise<Answer> {
  const { folder } = lab.node("node-1");
  const words = ["cleanup", "--json", "--config", join(folder, "agent.json"), ...flags];
  const { code, stdout, stderr } = await lab.exec("node/node-1", [...program("cli"), ...words]);
  const { steps = [] } = stdout === "" ? {} : (JSON.parse(stdout) as { steps?: readonly Step[] });
  return { code, stderr, failed: steps.filter(({ failed }) => failed), what: new Set(steps.map(({ what }) => what)) };
}

/** Ids of the programs that are pinned in a folder. */
async function loadedPrograms(folder: string): Promise<readonly number[]> {
  const shown = await Promise.all(
    (await readdir(folder)).map((name) => run(["bpftool", "-j", "prog", "show", "pinned", join(folder, name)])),
  );
  return shown.map(({ stdout }) => (JSON.parse(stdout) as { readonly id: number }).id);
}

async function isLoaded(id: number): Promise<boolean> {
  return (await run(["bpftool", "prog", "show", "id", String(id)])).code === 0;
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

for (const [tcMode, proxyRedirect] of [
  ["auto", "auto"],
  ["clsact", "tproxy"],
] as const) {
  test(`a node is cleaned up once its agent is gone, and not before (programs attached by ${tcMode})`, (t) =>
    withLab(t, { nodes: 1, objects: [pod("one"), pod("two")], agent: { tcMode, proxyRedirect } }, async (lab) => {
      const { bpffs, stateDir, folder } = lab.node("node-1");
      const conf = join(folder, "net.d");
      for (const made of [conf, join(folder, "cni-bin")]) await mkdir(made);
      await writeFile(join(conf, "01-other.conflist"), "{}");
      const cni = ["--cni-conf-dir", conf, "--cni-bin-dir", join(folder, "cni-bin")];
      const config = ["--config", join(folder, "agent.json")];
      const installed = await lab.exec("node/node-1", [...program("cli"), "cni", "install", ...config, ...cni]);
      t.is(installed.code, 0, installed.stderr);

      const running = await cleanup(lab, "--yes", ...cni);
      t.is(running.code, 1);
      t.regex(running.stderr, /AGENT_RUNNING/);
      await lab.stopAgent("node-1", "SIGKILL");
      t.regex((await cleanup(lab, ...cni)).stderr, /NOT_CONFIRMED/);
      const wired = await cleanup(lab, "--yes", ...cni);
      t.is(wired.code, 1);
      t.regex(wired.stderr, /PODS_WIRED.*2 pods.*default\/(one|two)/);

      const filters = tcMode === "clsact" ? ["filters"] : [];
      const expected = new Set([
        "CNI configuration",
        "pod",
        ...filters,
        "pin",
        ...(proxyRedirect === "tproxy" ? ["nftables"] : []),
        "rule",
        "setting",
        "route",
        "mount",
        "folder",
        "file",
      ]);
      const dry = await cleanup(lab, "--dry-run", ...cni);
      t.deepEqual(dry.what, expected);
      t.true((await readdir(join(bpffs, "maps"))).length > 0, "a dry run does nothing");
      const programs = await loadedPrograms(join(bpffs, "programs"));
      t.true(programs.length > 0);

      const told = async (...words: readonly string[]) => (await lab.exec("node/node-1", words)).stdout;
      t.regex(await told("ip", "-4", "route", "show", "table", "all"), /proto 158/);
      // TCX is not known to every bpftool: there, no program is loaded any more.
      if (tcMode === "clsact") t.regex(await told("bpftool", "net"), /from_pod/);
      const done = await cleanup(lab, "--yes", "--pods", ...cni);
      t.deepEqual(done.failed, []);
      t.is(done.code, 0, done.stderr);
      t.deepEqual(done.what, expected);
      // The kernel frees a program when everybody who runs it has left it.
      await lab.until("no program is loaded", async () =>
        (await Promise.all(programs.map(isLoaded))).every((is) => !is),
      );
      t.notRegex(await told("ip", "-br", "link"), /tdm/);
      // As the kernel has them in a new namespace.
      const priorities = (rules: string) => [...rules.matchAll(/^(\d+):/gm)].map(([, priority]) => priority);
      t.deepEqual(priorities(await told("ip", "-4", "rule")), ["0", "32766", "32767"]);
      t.deepEqual(priorities(await told("ip", "-6", "rule")), ["0", "32766"]);
      for (const family of ["-4", "-6"]) {
        const routes = await told("ip", family, "route", "show", "table", "all");
        t.notRegex(routes, /proto 158|table (?!local)/, routes);
      }
      t.notRegex(await told("nft", "list", "tables"), /tandem/);
      t.notRegex(await told("bpftool", "net"), /(from|to)_(pod|network)/);
      t.false(await exists(bpffs));
      t.false(await exists(stateDir));
      t.deepEqual(await readdir(conf), ["01-other.conflist"]);
      t.deepEqual(await readdir(join(folder, "cni-bin")), []);

      const again = await cleanup(lab, "--yes", ...cni);
      t.is(again.code, 0);
      t.deepEqual(again.what, new Set());
    }));
}
