/** What goes wrong between a node and its BGP: packets go on as the kernel's routes say, and `tandem status` tells within 2 s what it is. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { RouteDto, StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { agentStatus, beginFlow, fetchFrom, pod, podAddress, settled, withLab } from "../support/lab.ts";
import { now, problemOf, tells, tellsProblem } from "../support/told.ts";

const status = (lab: Lab, node: string) => agentStatus(lab, node);

const hasProblem = (code: string, object: string) => (all: StatusDto) => problemOf(all, code, object) !== undefined;

const whyOf = async (lab: Lab, node: string, podCidr: string) => {
  const { stdout } = await lab.agent(node, ["routes", "--json"]);
  return (JSON.parse(stdout) as readonly RouteDto[]).find((row) => row.podCidr === podCidr)?.why;
};

const objects = [pod("client", { node: "node-1" }), pod("web", { node: "node-2" })];

test("kube-router's API that hangs, its routes deleted by others, an uplink that bounces: told, and mended when they are", (t) =>
  withLab(t, { nodes: 2, objects }, async (lab) => {
    await settled(lab);
    const [one, two] = [lab.node("node-1"), lab.node("node-2")];
    const web = await podAddress(lab, "default/web");
    const ip = (...words: readonly string[]) => mustRun(["ip", "-n", one.netns, ...words]);
    const nft = (command: string) => mustRun(["nsenter", `--net=/run/netns/${one.netns}`, "/usr/sbin/nft", command]);
    await lab.until("all is well at first", async () => {
      const { ok, sources } = await status(lab, "node-1");
      return ok && sources.every(({ synced, stale }) => synced && !stale);
    });

    // Its API hangs: it is asked when it was quiet for 0.8 s, and told when it was silent for 1 s more. BGP itself goes on.
    await nft("add table inet closed");
    await nft("add chain inet closed in { type filter hook input priority 0 ; }");
    const hangs = now(t, lab, "node-1");
    await nft("add rule inet closed in tcp dport 50051 drop");
    await tellsProblem(hangs, "GOBGP_TIMEOUT", "");
    t.not(await fetchFrom(lab, "default/client", web, 8080), null);
    t.is((await status(lab, "node-1")).routes.present, 2, "the kernel's routes are known by themselves");
    await nft("delete table inet closed");
    await lab.until("it is asked again", async () => !hasProblem("GOBGP_", "")(await status(lab, "node-1")));

    // As systemd-networkd does it to routes that are not its own.
    for (const [family, deleted, others] of [
      ["-4", two.podCidr4, 6],
      ["-6", two.podCidr6, 4],
    ] as const) {
      const [kept] = (await ip(family, "route", "show", deleted)).trim().split("\n");
      const gone = now(t, lab, "node-1");
      await ip(family, "route", "del", deleted, "proto", "17");
      await tells(gone, `${deleted} was deleted`, ({ routes }) => routes.missing.join().includes(deleted));
      t.like(await whyOf(lab, "node-1", deleted), { code: "not-written" });
      t.not(await fetchFrom(lab, "default/client", await podAddress(lab, "default/web", others), 8080), null);
      const words = (kept ?? "").replace(/ pref medium/, "").split(" ");
      const back = now(t, lab, "node-1");
      await ip(family, "route", "add", ...words.filter((word) => word !== ""));
      await tells(back, "it is back", ({ routes }) => routes.missing.length === 0);
    }

    // The kernel takes its routes, and the IPv6 address, which is for whoever configures the link to give it again.
    const device = one.uplinks[0]?.device ?? "eth0";
    const addresses = (await ip("-6", "-o", "address", "show", "dev", device, "scope", "global"))
      .split("\n")
      .flatMap((line) => /inet6 (\S+)/.exec(line)?.[1] ?? []);
    const flows = await Promise.all(
      [web, await podAddress(lab, "default/web", 6)].map((address) =>
        beginFlow(lab, "default/client", { kind: "tcp", address, port: 8080, lateMs: 60_000 }),
      ),
    );
    try {
      const bounced = now(t, lab, "node-1");
      await ip("link", "set", device, "down");
      await ip("link", "set", device, "up");
      await tells(bounced, "the uplink took its routes", ({ routes }) => routes.missing.length === 2);
      for (const address of addresses) await ip("-6", "address", "add", address, "dev", device, "nodad");
      // kube-router writes its routes anew each minute.
      await lab.until("they are back", async () => (await status(lab, "node-1")).routes.missing.length === 0, 150_000);
    } finally {
      for (const flow of flows) {
        const { sent, answered } = await flow.end();
        t.is(answered, sent, "the connection goes on");
      }
    }
  }));

test("kube-router that ends in order takes routes with it; nodes with wrong pod CIDRs are named and disturb nobody", (t) =>
  withLab(t, { nodes: 2, objects }, async (lab) => {
    await settled(lab);
    const two = lab.node("node-2");
    const web = await podAddress(lab, "default/web");
    const path = join(lab.plan.manifests, "zz-other-node.yaml");
    const other = (podCidr: string) =>
      writeFile(
        path,
        JSON.stringify({
          apiVersion: "v1",
          kind: "Node",
          metadata: { name: "node-9" },
          spec: { podCIDR: podCidr, podCIDRs: [podCidr] },
          status: { addresses: [{ type: "InternalIP", address: "172.30.9.9" }] },
        }),
      );
    // Sessions that come up are told of for a moment, too.
    await lab.until("all is well at first", async () => {
      const { ok, problems } = await status(lab, "node-1");
      return ok && !problems.some(({ code }) => code === "BGP_PEER_DOWN");
    });

    const doubled = now(t, lab, "node-1");
    await other(two.podCidr4);
    await tellsProblem(doubled, "POD_CIDR_OVERLAP", "node-");
    t.not(await fetchFrom(lab, "default/client", web, 8080), null);
    // It comes back with another one.
    const changed = now(t, lab, "node-1");
    await other("10.64.9.0/24");
    await tells(changed, "its new CIDR has no route", (all) => {
      const isOver = !hasProblem("POD_CIDR_OVERLAP", "node-")(all);
      return isOver && all.routes.missing.join().includes("10.64.9.0/24");
    });
    t.is((await whyOf(lab, "node-1", "10.64.9.0/24"))?.code, "not-announced");
    const removed = now(t, lab, "node-1");
    await rm(path);
    await tells(removed, "it is gone", ({ routes }) => routes.missing.length === 0);
    t.not(await fetchFrom(lab, "default/client", web, 8080), null);

    // Without graceful restart its peers hear that it ends, and forget its routes.
    const [ended, own] = [now(t, lab, "node-1"), now(t, lab, "node-2")];
    await Promise.all([
      lab.stopBgp("node-2", "SIGTERM"),
      tells(ended, "routes went with kube-router", ({ routes }) => routes.missing.length === 2),
      tellsProblem(ended, "BGP_PEER_DOWN", "node-2"),
      tellsProblem(own, "GOBGP_UNREACHABLE", ""),
    ]);
    t.is((await whyOf(lab, "node-1", two.podCidr4))?.code, "peer-down");
    await lab.startBgp("node-2");
    await lab.waitForRoutes();
    await tells(now(t, lab, "node-1"), "routes are back", ({ routes }) => routes.missing.length === 0);
    t.not(await fetchFrom(lab, "default/client", web, 8080), null);
  }));
