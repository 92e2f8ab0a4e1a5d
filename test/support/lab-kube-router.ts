/**
 * Which kube-router labs of tests have: what plays it, or, where TANDEM_KUBE_ROUTER names a program, that one, in every lab where it can be. Such a lab whose objects are
 * in files has an API server for its Nodes all the same, as kube-router needs one.
 */
import { join, resolve } from "node:path";
import { kubeRouterTopology } from "../../src/lab/kube-router.ts";
import type { LabOptions } from "../../src/lab/lab.ts";
import { labApiServer } from "./api-server-process.ts";

export interface TestLabOptions extends LabOptions {
  /** Why the test needs what plays kube-router, whatever TANDEM_KUBE_ROUTER names. */
  readonly standIn?: string;
}

export const kubeRouterVariable = "TANDEM_KUBE_ROUTER";

/** The program of the tests in the place of a real one. */
export const ownKubeRouter = join(import.meta.dirname, "kube-router/run");

/** @param note told why a lab has what plays it although another one is named */
export function withKubeRouter(
  { standIn, ...options }: TestLabOptions,
  note: (why: string) => void,
  named = process.env[kubeRouterVariable] ?? "",
): LabOptions {
  if (named === "" || options.kubeRouter !== undefined) return options;
  const why = standIn ?? whyNot(options);
  if (why !== null) {
    note(`what plays kube-router runs here, and not ${kubeRouterVariable}: ${why}`);
    return options;
  }
  return {
    ...options,
    kubeRouter: resolve(named),
    // The same for both.
    gracefulRestart: options.gracefulRestart ?? false,
    ...(options.api === undefined && { nodesApi: labApiServer }),
  };
}

function whyNot({ topology = "fabric", site }: LabOptions): string | null {
  if (site !== undefined) return "the lab has given addresses, and no API server among them";
  if (!kubeRouterTopology(topology)) return "nodes peer by IPv6, and kube-router by the first address of a Node";
  if (topology === "ecmp") return "nodes have all paths in their kernels, and kube-router writes the best one";
  return null;
}
