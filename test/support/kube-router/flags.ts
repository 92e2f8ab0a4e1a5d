/** Those of kube-router's flags that labs give. One that is not known is refused, as kube-router refuses it. */
import type { OverlayType } from "../../../src/lab/overlay.ts";

export interface Flags {
  readonly kubeconfig: string;
  readonly hostname: string;
  readonly gracefulRestart: boolean;
  readonly restartSeconds: number;
  /** Whether nodes of one AS number peer with each other. */
  readonly ibgp: boolean;
  /** Whether all nodes are of one AS number; else each has its own, by an annotation. */
  readonly fullMesh: boolean;
  readonly overrideNextHop: boolean;
  readonly overlay: OverlayType | null;
}

/** Given by manifests, and about parts that are not here: what they have to be. */
const fixed: Readonly<Record<string, string>> = {
  "run-router": "true",
  "run-firewall": "false",
  "run-service-proxy": "false",
  "enable-cni": "false",
  "enable-pod-egress": "false",
  "auto-mtu": "false",
};

/** With what they are when they are left out. */
const read: Readonly<Record<string, string>> = {
  kubeconfig: "",
  "hostname-override": "",
  "bgp-graceful-restart": "false",
  "bgp-graceful-restart-time": "90s",
  "enable-ibgp": "true",
  "nodes-full-mesh": "true",
  "override-nexthop": "false",
  "enable-overlay": "true",
  "overlay-type": "subnet",
};

/** @throws Error naming the flag */
export function readFlags(args: readonly string[]): Flags {
  const given = new Map<string, string>();
  for (const arg of args) {
    const [, name = "", value = "true"] = /^--([a-z-]+)(?:=(.*))?$/.exec(arg) ?? [];
    if (!(name in fixed) && !(name in read)) throw new Error(`unknown flag: ${arg}`);
    given.set(name, value);
  }
  for (const [name, value] of Object.entries(fixed))
    if (given.get(name) !== value) throw new Error(`--${name} has to be ${value} beside Tandem`);
  const text = (name: string) => given.get(name) ?? read[name] ?? "";
  const isOn = (name: string) => text(name) === "true";
  return {
    kubeconfig: text("kubeconfig"),
    hostname: text("hostname-override"),
    gracefulRestart: isOn("bgp-graceful-restart"),
    restartSeconds: Number.parseInt(text("bgp-graceful-restart-time"), 10),
    ibgp: isOn("enable-ibgp"),
    fullMesh: isOn("nodes-full-mesh"),
    overrideNextHop: isOn("override-nexthop"),
    overlay: isOn("enable-overlay") ? (text("overlay-type") as OverlayType) : null,
  };
}
