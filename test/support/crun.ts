/** Containers on a node of the lab by crun, a runtime of the Open Container Initiative. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { type NodePlan, netnsPath } from "../../src/lab/plan.ts";
import { startDaemon, stopDaemon } from "../../src/lab/processes.ts";
import { run } from "../../src/lab/run.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import type { ManifestContainer } from "./oci-container.ts";

/** Runs containers in the namespaces of a node; by its name one is entered and ended. */
export class Crun {
  readonly #folder: string;
  readonly #lab: Lab;
  readonly #node: NodePlan;
  readonly #exits = new Map<string, number>();

  /** @param folder for bundles, logs and the runtime's state */
  constructor(folder: string, lab: Lab, node: NodePlan) {
    this.#folder = folder;
    this.#lab = lab;
    this.#node = node;
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
      cgroup: systemCgroup(this.#node),
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
    return (
      (await run(["nsenter", `--net=${netnsPath(this.#node.netns)}`, "curl", "-sf", "-m", "5", probe.url])).code === 0
    );
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
