/** Containers on a node of the lab by crun, a runtime of the Open Container Initiative. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { startDaemon, stopDaemon } from "../../src/lab/processes.ts";
import { run } from "../../src/lab/run.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import type { ManifestContainer } from "./oci-container.ts";

/** Runs a container in the node's namespaces; by its name it is entered and ended. */
export class Crun {
  readonly #folder: string;
  readonly #lab: Lab;
  readonly #exits = new Map<string, number>();

  constructor(folder: string, lab: Lab) {
    this.#folder = folder;
    this.#lab = lab;
  }

  log(name: string): Promise<string> {
    return readFile(join(this.#folder, `${name}.log`), "utf8").catch(() => "");
  }

  async start(name: string, { spec }: ManifestContainer): Promise<void> {
    const bundle = join(this.#folder, name);
    await mkdir(bundle, { recursive: true });
    await writeFile(join(bundle, "config.json"), JSON.stringify(spec));
    await startDaemon({
      netns: null,
      cgroup: systemCgroup(this.#lab.node("node-1")),
      command: [...this.#crun, "run", "--bundle", bundle, this.#id(name)],
      log: join(this.#folder, `${name}.log`),
      pidFile: this.#pidFile(name),
      onExit: (code) => this.#exits.set(name, code),
    });
  }

  exec(name: string, command: readonly string[]) {
    return run([...this.#crun, "exec", this.#id(name), ...command]);
  }

  /** As the kubelet asks: from the node, or inside of the container. @throws Error where the container has ended, or has no such probe */
  async probe(name: string, { probes }: ManifestContainer, kind: string): Promise<boolean> {
    const code = this.exitCode(name);
    if (code !== null) throw new Error(`container ${name} ended with ${code}:\n${await this.log(name)}`);
    const probe = probes.get(kind);
    if (probe === undefined) throw new Error(`container ${name} has no ${kind}`);
    if ("command" in probe) return (await this.exec(name, probe.command)).code === 0;
    const node = netnsPath(this.#lab.node("node-1").netns);
    return (await run(["nsenter", `--net=${node}`, "curl", "-sf", "-m", "5", probe.url])).code === 0;
  }

  /** null: it runs. */
  exitCode(name: string): number | null {
    return this.#exits.get(name) ?? null;
  }

  /** As kubelet ends it. */
  async stop(name: string): Promise<void> {
    await stopDaemon(this.#pidFile(name), "SIGTERM", 10_000);
    await run([...this.#crun, "delete", "--force", this.#id(name)]);
  }

  #pidFile(name: string): string {
    return join(this.#folder, `${name}.pid`);
  }

  #id(name: string): string {
    return `tandem-${this.#lab.name}-${name}`;
  }

  /** crun refuses machines where controllers are divided between both versions of cgroups: it is shown the second alone. */
  get #crun(): readonly string[] {
    const crun = ["crun", "--root", join(this.#folder, "crun"), "--cgroup-manager", "disabled"];
    const root = dirname(this.#lab.plan.cgroup);
    if (root === "/sys/fs/cgroup") return crun;
    const show = `mount --bind ${root} /sys/fs/cgroup && exec "$@"`;
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", show, "sh", ...crun];
  }
}
