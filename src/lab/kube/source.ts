/** Which API server a lab uses: one that the lab starts by a script, or one that runs already. */
import { access, constants } from "node:fs/promises";
import { resolve } from "node:path";
import { LabError } from "../errors.ts";

export type ApiServerSource =
  /** Called with DATADIR and PORT; writes DATADIR/kubeconfig, and DATADIR/ready when the API server answers. */
  | { readonly kind: "script"; readonly path: string }
  /** @property server instead of the kubeconfig's; null: that one */
  | { readonly kind: "running"; readonly kubeconfig: string; readonly server: string | null };

/** Names the script where the command line names none. */
export const scriptVariable = "TANDEM_KUBE_APISERVER";

/**
 * @param given of --api-server: true without an argument
 * @throws LabError LAB_API when there is nothing to start or to connect to
 */
export async function apiServerSource(
  given: string | true,
  kubeconfig: string | null,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ApiServerSource> {
  const named = given === true ? (kubeconfig === null ? (env[scriptVariable] ?? "") : null) : given;
  if (named === "") {
    const remedy = `--api-server PATH of a script that starts one, or URL with --kubeconfig, or ${scriptVariable}=PATH`;
    throw new LabError("LAB_API", "--api-server", "no API server is given, and none is part of tandem", remedy);
  }
  if (named === null || /^https?:\/\//.test(named)) {
    if (kubeconfig === null)
      throw new LabError("LAB_API", `--api-server ${named}`, "a URL needs credentials", "--kubeconfig FILE");
    await need(kubeconfig, constants.R_OK, "cannot be read");
    return { kind: "running", kubeconfig: resolve(kubeconfig), server: named };
  }
  if (kubeconfig !== null)
    throw new LabError("LAB_API", `--kubeconfig ${kubeconfig}`, "a script writes its own", "give one or the other");
  await need(named, constants.X_OK, "is no program that can be run");
  return { kind: "script", path: resolve(named) };
}

async function need(path: string, mode: number, problem: string): Promise<void> {
  try {
    await access(path, mode);
  } catch {
    throw new LabError("LAB_API", path, problem, "name another file");
  }
}
