/** A name for pods that belong together, read from their own names: "shop/web" for shop/web-7d9f8-x2x4k and shop/web-7d9f8-9jkq5. */
import type { PodRow } from "../../model/tables.ts";
import { podKey } from "./cluster.ts";

const hashLabels = ["pod-template-hash", "controller-revision-hash"];

/** @param pods at least one, of one namespace */
export function workloadName(pods: readonly PodRow[]): string {
  const names = [...new Set(pods.map(baseName))];
  const [first = "", ...others] = names;
  const namespace = pods[0]?.namespace ?? "";
  if (others.length === 0) return `${namespace}/${first}`;
  const words = first.split("-");
  let shared = words.length;
  for (const other of others.map((name) => name.split("-"))) {
    let same = 0;
    while (same < shared && other[same] === words[same]) same++;
    shared = same;
  }
  return shared > 0 ? `${namespace}/${words.slice(0, shared).join("-")}` : pods.map(podKey).sort().join(", ");
}

/** Without what a controller appended. */
function baseName({ name, labels }: PodRow): string {
  for (const label of hashLabels) {
    const hash = labels[label];
    const at = hash === undefined || hash === "" ? -1 : name.indexOf(`-${hash}`);
    if (at > 0) return name.slice(0, at);
  }
  return name;
}
