/** Whether tests can use the machine's kubectl. */
import { spawnSync } from "node:child_process";

/** kustomize 4, which knows components, is in kubectl since 1.21. */
const least = 21;

/** null: they can. Else why not, for the title of a test that is left out. */
export function kubectlMissing(): string | null {
  const { error, stdout } = spawnSync("kubectl", ["version", "--client", "--output", "json"], { encoding: "utf8" });
  if (error !== undefined) return "there is no kubectl on this machine";
  const [, minor = "0"] = /"minor": "(\d+)/.exec(stdout) ?? [];
  return Number(minor) < least ? `this machine's kubectl is 1.${minor}: components need 1.${least}` : null;
}
