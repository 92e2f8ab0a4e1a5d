/** What pods ask for by annotations that nobody here does, by the settings. */
import type { AgentConfig } from "../config/index.ts";
import type { PodRow } from "../model/tables.ts";
import type { Ignored } from "./pod-watch.ts";

export function ignoredOf(
  { bandwidth = [], visibility = [] }: Pick<PodRow, "bandwidth" | "visibility">,
  { cniChained, l7Proxy }: Pick<AgentConfig, "cniChained" | "l7Proxy">,
): readonly Ignored[] {
  const ignored: Ignored[] = [];
  // A plugin of that name does what they ask for, as far as it can.
  if (bandwidth.length > 0 && !cniChained.includes("bandwidth"))
    ignored.push({ reason: "BandwidthIgnored", annotations: bandwidth, because: "Tandem does not limit bandwidth" });
  if (visibility.length > 0 && l7Proxy === "off") {
    const annotations = ["policy.cilium.io/proxy-visibility"];
    ignored.push({ reason: "VisibilityIgnored", annotations, because: "the setting l7Proxy of its node is off" });
  }
  return ignored;
}
