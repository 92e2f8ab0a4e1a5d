/** kube-router's overlay in a lab: whether this kernel has the devices of its tunnels, and where they make sense. */
import { LabError } from "./errors.ts";
import type { Topology } from "./plan.ts";
import { run } from "./run.ts";

/** --overlay-type of kube-router. Nodes of a lab are in one subnet: with `subnet` none is behind a tunnel. */
export const overlayTypes = ["subnet", "full"] as const;
export type OverlayType = (typeof overlayTypes)[number];

/** Kinds of devices, the modules that have them, and how one is made. */
const devices = [
  ["ipip", "ipip", ["local", "192.0.2.1", "remote", "192.0.2.2"]],
  ["ip6tnl", "ip6_tunnel", ["mode", "ip6ip6", "local", "2001:db8::1", "remote", "2001:db8::2"]],
] as const;

/** @throws LabError LAB_OVERLAY */
export async function checkOverlay(type: OverlayType, topology: Topology): Promise<void> {
  const object = `--overlay ${type}`;
  // kube-router puts every next hop behind a tunnel then, also the router, which has no end of one.
  if (type === "full" && topology !== "mesh")
    throw new LabError(
      "LAB_OVERLAY",
      object,
      "the top-of-rack router is a next hop of nodes and takes no tunnels",
      "--topology mesh, where it speaks no BGP",
    );
  const missing = await missingDevices();
  if (missing.length === 0) return;
  const kinds = missing.map(({ kind, why }) => `${kind} (${why})`).join(" and ");
  throw new LabError(
    "LAB_OVERLAY",
    object,
    `this kernel makes no devices of type ${kinds}`,
    `load the modules: modprobe -a ${missing.map(({ module }) => module).join(" ")}; or boot a kernel that has them, as Debian's`,
  );
}

/** Tried in a network namespace that ends with the command. */
async function missingDevices(): Promise<
  readonly { readonly kind: string; readonly module: string; readonly why: string }[]
> {
  const tried = await Promise.all(
    devices.map(async ([kind, module, words]) => {
      const command = ["unshare", "--net", "ip", "link", "add", "name", "tandem-tun", "type", kind, ...words];
      const { code, stderr } = await run(command);
      const why = stderr.trim().split("\n").at(-1) ?? "";
      return code === 0 ? [] : [{ kind, module, why }];
    }),
  );
  return tried.flat();
}
