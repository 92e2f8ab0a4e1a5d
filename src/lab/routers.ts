/** The daemons of the top-of-rack routers. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { BgpOptions } from "./bgp-config.ts";
import { peersOfRouter } from "./bgp-peers.ts";
import { writeAtomically } from "./files.ts";
import type { LabPlan, RouterPlan } from "./plan.ts";
import { startDaemon } from "./processes.ts";
import { birdConfig, gobgpRouterConfig } from "./router-config.ts";
import { startSpeaker } from "./speaker.ts";

/** RTPROT_BGP: gobgpd writes no routes by itself, and what does it here is not kube-router. */
const bgpProtocol = 186;

export async function startRouters(lab: LabPlan, options: BgpOptions): Promise<void> {
  for (const router of lab.routers) {
    if (peersOfRouter(lab, router).length === 0) continue;
    await mkdir(router.folder, { recursive: true });
    await start[lab.routerDaemon](lab, router, options);
  }
}

/** Of their routes in the kernel, as iproute2 calls it. */
export function routerProtocol({ routerDaemon }: LabPlan): string {
  return routerDaemon === "bird" ? "bird" : String(bgpProtocol);
}

const start = { bird: startBird, gobgpd: startGobgpd } as const;

async function startBird(lab: LabPlan, router: RouterPlan, options: BgpOptions): Promise<void> {
  const { folder, netns, cgroup } = router;
  const file = (name: string) => join(folder, name);
  await writeAtomically(file("bird.conf"), birdConfig(lab, router, options));
  await startDaemon({
    netns,
    cgroup,
    command: ["bird", "-f", "-c", file("bird.conf"), "-s", file("bird.ctl")],
    log: file("bird.log"),
    pidFile: file("bird.pid"),
  });
}

async function startGobgpd(lab: LabPlan, router: RouterPlan, options: BgpOptions): Promise<void> {
  await startSpeaker(router, {
    toml: gobgpRouterConfig(lab, router, options),
    restarting: false,
    injector: {
      addresses: [router.ipv4, router.ipv6],
      announcements: [
        { prefix: lab.externalPrefix4, nextHop: router.ipv4 },
        { prefix: lab.externalPrefix6, nextHop: router.ipv6 },
      ],
      // A router changes its routes in place, whether it spreads over several or has one.
      multipath: true,
      protocol: bgpProtocol,
    },
  });
}
