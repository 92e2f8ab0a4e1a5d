/** Where the programs of this package are: bundles when it was built, sources through tsx in a working copy that was not. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { capabilities } from "../lib/privileges.ts";
import { LabError } from "./errors.ts";

const programs = {
  agent: { built: "bin/tandem-agent.js", bundle: "dist/tandem-agent.js", source: "src/agent/main.ts" },
  proxy: { built: "bin/tandem-proxy.js", bundle: "dist/tandem-proxy.js", source: "src/proxy/main.ts" },
  cli: { built: "bin/tandem.js", bundle: "dist/tandem.js", source: "src/cli/main.ts" },
  kube: { built: "dist/tandem-lab-kube.js", bundle: "dist/tandem-lab-kube.js", source: "src/lab/kube/main.ts" },
  injector: { built: "dist/tandem-injector.js", bundle: "dist/tandem-injector.js", source: "src/lab/injector/main.ts" },
  podServer: {
    built: "dist/tandem-pod-server.js",
    bundle: "dist/tandem-pod-server.js",
    source: "src/lab/pod-server.ts",
  },
};

/** The folder of package.json. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new LabError(
        "LAB_ROOT",
        import.meta.url,
        "not inside the package",
        "run it from an installation or a clone",
      );
    folder = parent;
  }
  return folder;
}

/** How to start one of our programs. TANDEM_LAB_SOURCE=1 takes the sources although bundles exist. */
export function program(name: keyof typeof programs): readonly string[] {
  const root = packageRoot();
  const { built, bundle, source } = programs[name];
  if (existsSync(join(root, bundle)) && process.env.TANDEM_LAB_SOURCE !== "1")
    return [process.execPath, join(root, built)];
  // By path: the daemon's working folder is not the package's.
  return [process.execPath, "--import", join(root, "node_modules/tsx/dist/loader.mjs"), join(root, source)];
}

/**
 * A daemon of a node, with the capabilities that its container has and not one more: what a manifest lacks, the lab lacks. TANDEM_LAB_RELEASE, the
 * folder of another release that was built, takes that one's: for upgrades and their way back.
 */
export function daemon(name: "agent" | "proxy"): readonly string[] {
  const release = process.env.TANDEM_LAB_RELEASE ?? "";
  const command = release === "" ? program(name) : [process.execPath, join(release, programs[name].built)];
  const bounding = ["-all", ...capabilities[`tandem-${name}`].map((capability) => `+${capability.toLowerCase()}`)];
  return ["setpriv", "--bounding-set", bounding.join(","), "--", ...command];
}

/**
 * What the agent's container has in its environment for the sake of its memory, with hardly any more CPU: young objects of V8 in 2 MB instead of 16,
 * which take three times as much and fill up only while it starts; and one arena of malloc instead of one for each of ten threads.
 */
export const agentEnvironment = { NODE_OPTIONS: "--max-semi-space-size=2", MALLOC_ARENA_MAX: "1" } as const;

/** The prober of conformance runs. @throws LabError LAB_PROBE when it was not built */
export function probeBinary(): string {
  const file = join(packageRoot(), "build/lab/tandem-lab-probe");
  if (existsSync(file)) return file;
  throw new LabError("LAB_PROBE", file, "the prober is not there", "npm run build:lab");
}

/** What makes namespaces and enters them without `ip`, nsenter and sh; null where it was not built, and these do it. */
export function findSandboxBinary(): string | null {
  const file = join(packageRoot(), "build/lab/tandem-lab-sandbox");
  return existsSync(file) ? file : null;
}

const cniPlaces = ["build/addon/Release/tandem-cni", "build/cni/tandem-cni"];

/** TANDEM_CNI names another one. null when there is none. */
export function findCniBinary(): string | null {
  if (process.env.TANDEM_CNI !== undefined) return process.env.TANDEM_CNI;
  const root = packageRoot();
  return cniPlaces.map((place) => join(root, place)).find((place) => existsSync(place)) ?? null;
}

/** @throws LabError LAB_CNI when it was not built */
export function cniBinary(): string {
  const found = findCniBinary();
  if (found === null)
    throw new LabError("LAB_CNI", cniPlaces.join(" or "), "the CNI plugin is not there", "npm run build:addon");
  return found;
}
