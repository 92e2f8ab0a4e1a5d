/** How large pods' packets may be, when the ways to other nodes change under pods that run. */
import test, { type ExecutionContext } from "ava";
import type { StatusDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";
import { transfer, transferBackend, transferBytes } from "../support/transfers.ts";

async function ip(lab: Lab, on: string, line: string): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(on, ["ip", ...line.split(" ")]);
  if (code !== 0) throw new Error(`ip ${line}: ${stderr}`);
  return stdout;
}

interface Link {
  readonly mtu: number;
}
interface Route {
  readonly dst: string;
  readonly metrics?: readonly { readonly mtu?: number }[];
}

/** What a pod sends at most: by its device, and by its default route if that says less. */
async function podMtus(lab: Lab, name: string) {
  const [link] = JSON.parse(await ip(lab, name, "-j link show eth0")) as readonly Link[];
  const routes = await Promise.all(
    ["-4", "-6"].map(async (family) => {
      const [route] = JSON.parse(await ip(lab, name, `-j ${family} route show default`)) as readonly Route[];
      return route?.metrics?.find(({ mtu }) => mtu !== undefined)?.mtu ?? null;
    }),
  );
  return { device: link?.mtu, routes };
}

/**
 * Ways that take less than pods were told: to one pod, where the node knows it, and where a router behind it does. What is too large is answered by whoever finds it so,
 * and a transfer both ways arrives.
 */
async function narrowWays(t: ExecutionContext, lab: Lab): Promise<void> {
  const two = lab.node("node-2");
  for (const [family, hop, router] of [
    [4, two.ipv4, lab.plan.tor.ipv4],
    [6, two.ipv6, lab.plan.tor.ipv6],
  ] as const) {
    const to = await podAddress(lab, "default/backend", family);
    const arrives = async (what: string, mtu: number) => {
      t.is(await transfer(lab, to, "default/old", 8080), `200 ${transferBytes} ${transferBytes}`, what);
      t.regex(await ip(lab, "default/old", `-${family} route get ${to}`), new RegExp(` mtu ${mtu} `), what);
    };
    await ip(lab, "node/node-1", `-${family} route add ${to} via ${hop} mtu lock 1300`);
    await arrives(`IPv${family}, the node knows`, 1300);
    await ip(lab, "tor", `-${family} route add ${to} via ${hop} mtu lock 1290`);
    await ip(lab, "node/node-1", `-${family} route replace ${to} via ${router}`);
    await arrives(`IPv${family}, a router knows`, 1290);
  }
}

const statusOf = async (lab: Lab) => (await lab.agentStatus("node-1")) as StatusDto;

const objects = [pod("old", { node: "node-1" }), pod("far", { node: "node-2" }), transferBackend];

test("pods that run follow the least way to other nodes, down and up, and status says which that is", (t) =>
  withLab(t, { nodes: 2, objects }, async (lab) => {
    const two = lab.node("node-2");
    const until = (what: string, bytes: number, from: RegExp) =>
      lab.until(what, async () => {
        const { mtu } = await statusOf(lab);
        return mtu.bytes === bytes && from.test(mtu.from);
      });
    await until("the route decides", 1500, /^route to \S+ \(node-2\)$/);
    t.deepEqual(await podMtus(lab, "default/old"), { device: 1500, routes: [null, null] });

    await ip(lab, "node/node-1", "link set eth0 mtu 1400");
    await until("the device of the route decides", 1400, /^route to \S+ \(node-2\)$/);
    await lab.until("the pod knows", async () => {
      const { routes } = await podMtus(lab, "default/old");
      return routes.every((mtu) => mtu === 1400);
    });
    t.is((await podMtus(lab, "default/old")).device, 1500, "a device never shrinks");
    await lab.applyObjects([pod("new", { node: "node-1" })]);
    t.deepEqual(await podMtus(lab, "default/new"), { device: 1400, routes: [null, null] });
    t.regex((await lab.agent("node-1", ["status"])).stdout, /MTU: +1400 for pods \(route to /);

    await ip(lab, "node/node-1", "link set eth0 mtu 1600");
    await lab.until("pods grow", async () => {
      const mtus = [await podMtus(lab, "default/old"), await podMtus(lab, "default/new")];
      return mtus.every(({ device, routes }) => device === 1600 && routes.every((mtu) => mtu === null));
    });

    // One route is smaller than its device: a tunnel's, or a static one.
    await ip(lab, "node/node-1", `route replace ${two.podCidr4} via ${two.ipv4} mtu 1300`);
    await until("the route's own MTU decides", 1300, new RegExp(`^route to ${two.podCidr4} `));
    await lab.until("IPv4 and IPv6 follow", async () => {
      const { routes } = await podMtus(lab, "default/new");
      return routes.every((mtu) => mtu === 1300);
    });

    await lab.stopAgent("node-1", "SIGKILL");
    await ip(lab, "node/node-1", `route replace ${two.podCidr4} via ${two.ipv4} mtu 1350`);
    await lab.startAgent("node-1");
    await lab.until("what changed while no agent ran is given at its start", async () => {
      const { routes } = await podMtus(lab, "default/old");
      return routes.every((mtu) => mtu === 1350);
    });
    t.truthy(await fetchFrom(lab, "default/old", await podAddress(lab, "default/far"), 8080));
    t.truthy(await fetchFrom(lab, "default/new", await podAddress(lab, "default/far", 6), 8080));
    await narrowWays(t, lab);
  }));
