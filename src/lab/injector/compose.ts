/** The injector of a node, in whose network namespace this process is. */
import { mustRun } from "../run.ts";
import { GobgpClient } from "./gobgp.ts";
import { Injector, type InjectorDependencies } from "./injector.ts";
import { kernelRoutes, nodeSubnets } from "./routes.ts";
import { type Encapsulation, Tunnels } from "./tunnels.ts";

export interface InjectorConfig {
  /** host:port of gobgpd's API. */
  readonly api: string;
  /** Those of the node whose subnets have next hops: its InternalIPs, and those of further uplinks. */
  readonly addresses: readonly string[];
  readonly announcements: readonly { readonly prefix: string; readonly nextHop: string }[];
  readonly multipath: boolean;
  /** RTPROT of its routes; left out: kube-router's. */
  readonly protocol?: number;
  /** Left out: there is no overlay, and there never was one. */
  readonly overlay?: {
    /** --overlay-type; null: --enable-overlay=false, which takes away what an overlay before has left. */
    readonly type: "subnet" | "full" | null;
    readonly encapsulation: Encapsulation;
  };
}

export async function createInjector(config: InjectorConfig, log: InjectorDependencies["log"]): Promise<Injector> {
  const { api, addresses, announcements, multipath, overlay } = config;
  let tunnels: Tunnels | null = null;
  if (overlay !== undefined) {
    const ip = (words: readonly string[]) => mustRun(["ip", ...words]);
    tunnels = new Tunnels({ ip, addresses, encapsulation: overlay.encapsulation });
    await tunnels.lookUp(
      announcements.map(({ prefix }) => prefix),
      overlay.type !== null,
    );
  }
  return new Injector({
    gobgp: new GobgpClient(api),
    routes: kernelRoutes(config.protocol),
    subnets: await nodeSubnets(addresses),
    announcements,
    multipath,
    log,
    syncIntervalMs: 60_000,
    retryMs: 300,
    ...(tunnels !== null && { tunnels }),
    ...(overlay !== undefined && overlay.type !== null && { overlay: overlay.type }),
  });
}
