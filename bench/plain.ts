/**
 * The baseline of the path benchmark: the same namespaces and veth pairs as a lab, joined by kernel routing alone, without
 * any eBPF program, rule or connection tracking.
 */
import { inNetns, sh } from "./support.ts";

export interface PlainCluster {
  /** Namespace of the first node. */
  readonly node: string;
  /** Namespaces of two pods on the first node and one on the second, with their addresses. */
  readonly pods: readonly { readonly netns: string; readonly ipv4: string; readonly ipv6: string }[];
  remove(): Promise<void>;
}

/** @param tag tells several of one run apart */
export async function createPlainCluster(tag = ""): Promise<PlainCluster> {
  const prefix = `tandem-plain${tag}${process.pid}`;
  const fabric = `${prefix}-fabric`;
  const made: string[] = [];
  const namespace = async (name: string) => {
    await sh(["ip", "netns", "add", name]);
    made.push(name);
    await sh(inNetns(name, ["ip", "link", "set", "lo", "up"]));
  };
  const remove = async () => {
    for (const name of made) await sh(["ip", "netns", "delete", name]);
  };
  const ip = (name: string, line: string) => sh(inNetns(name, ["ip", ...line.split(" ")]));
  try {
    await namespace(fabric);
    await ip(fabric, "link add br0 type bridge");
    await ip(fabric, "link set br0 up");
    const pods: { netns: string; ipv4: string; ipv6: string }[] = [];
    for (const [node, count] of [2, 1].entries()) {
      const n = node + 1;
      const name = `${prefix}-n${n}`;
      await namespace(name);
      await ip(name, `link add eth0 type veth peer name port${n} netns ${fabric}`);
      await ip(fabric, `link set port${n} master br0 up`);
      await ip(name, `addr add 192.168.77.${n}/24 dev eth0`);
      await ip(name, `addr add fd77::${n}/64 dev eth0 nodad`);
      await ip(name, "link set eth0 up");
      await ip(name, `route add 10.77.${3 - n}.0/24 via 192.168.77.${3 - n}`);
      await ip(name, `-6 route add fd77:${3 - n}::/64 via fd77::${3 - n}`);
      await sh(inNetns(name, ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]));
      for (let p = 1; p <= count; p++) {
        const pod = `${prefix}-p${n}${p}`;
        const ipv4 = `10.77.${n}.${p + 1}`;
        const ipv6 = `fd77:${n}::${p + 1}`;
        await namespace(pod);
        await ip(name, `link add pod${p} type veth peer name eth0 netns ${pod}`);
        await ip(name, `link set pod${p} up`);
        await ip(name, `addr add fe80::1/64 dev pod${p} nodad`);
        await ip(pod, "link set eth0 up");
        await ip(pod, `addr add ${ipv4}/32 dev eth0`);
        await ip(pod, `addr add ${ipv6}/128 dev eth0 nodad`);
        await ip(name, `route add ${ipv4} dev pod${p}`);
        await ip(name, `-6 route add ${ipv6} dev pod${p}`);
        await ip(pod, "route add 192.168.77.254 dev eth0");
        const [link] = JSON.parse(await sh(inNetns(name, ["ip", "-j", "link", "show", `pod${p}`])));
        await ip(pod, `neigh replace 192.168.77.254 lladdr ${link.address} dev eth0 nud permanent`);
        await ip(pod, "route add default via 192.168.77.254 dev eth0");
        await ip(pod, "-6 route add default via fe80::1 dev eth0");
        pods.push({ netns: pod, ipv4, ipv6 });
      }
    }
    return { node: `${prefix}-n1`, pods, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
