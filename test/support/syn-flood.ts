/** A flood of TCP's first packets, of clients that never answer. */
import type { ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { ip, isIpv6, tcp } from "./packets.ts";
import { buildTool } from "./programs-traffic.ts";

/**
 * @param addresses to which they go in turn, at port 80
 * @returns what sends so many from the host outside, under addresses of its network that nobody has, each from another one or another port
 */
export async function synFlood(t: ExecutionContext, lab: Lab, addresses: readonly string[]) {
  const tool = await buildTool(t);
  const [external] = lab.plan.externals;
  const networks = { 4: external?.ipv4.replace(/\d+$/, "") ?? "", 6: external?.ipv6.replace(/[\da-f]+$/, "") ?? "" };
  return async (packets: number): Promise<void> => {
    const lines = Array.from({ length: packets }, (_, at) => {
      const to = addresses[at % addresses.length] ?? "";
      const source = `${networks[isIpv6(to) ? 6 : 4]}${100 + (at % 100)}`;
      const syn = tcp(1_024 + (Math.floor(at / 100) % 60_000), 80, "S");
      return ip(source, to, syn).toString("hex");
    });
    const { code, stderr } = await lab.exec("external/client", [tool, "packets"], {
      input: `${lines.join("\n")}\n`,
      timeoutMs: 120_000,
    });
    if (code !== 0) throw new Error(stderr);
  };
}
