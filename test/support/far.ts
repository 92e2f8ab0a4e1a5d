/** A server outside that no route of BGP leads to: nodes reach it by their default routes, in their own name. */
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { packageRoot } from "../../src/native/index.ts";
import { fetchFrom } from "./lab.ts";

/** Of the host outside, and announced to nobody. */
export const far = { 4: "198.51.100.9", 6: "2001:db8:ff::9" } as const;

async function must(lab: Lab, on: string, command: string): Promise<void> {
  const { code, stderr } = await lab.exec(on, command.split(" "));
  if (code !== 0) throw new Error(`${on}: ${command}: ${stderr}`);
}

/**
 * It tells whom it sees, at 8080 of TCP and 9000 of UDP, and ends with the lab.
 * @param datagrams are answered from there, too; all that the host outside sends has that source then
 */
export async function serveFar(lab: Lab, { datagrams = false } = {}): Promise<void> {
  const [external] = lab.plan.externals;
  if (external === undefined) throw new Error("no host outside");
  for (const family of [4, 6] as const) {
    const [via, gateway] = family === 4 ? [external.ipv4, lab.plan.tor.ipv4] : [external.ipv6, lab.plan.tor.ipv6];
    await must(lab, "external/client", `ip addr add ${far[family]}/${family === 4 ? 32 : 128} dev lo`);
    await must(lab, "tor", `ip -${family} route add ${far[family]} via ${via}`);
    const router = family === 4 ? lab.plan.tor.external4 : lab.plan.tor.external6;
    if (datagrams)
      await must(lab, "external/client", `ip -${family} route replace default via ${router} src ${far[family]}`);
    for (const node of lab.plan.nodes)
      await must(lab, `node/${node.name}`, `ip -${family} route add default via ${gateway}`);
  }
  const server = [process.execPath, join(packageRoot(), "dist/tandem-pod-server.js"), "far", "tcp:8080", "udp:9000"];
  void lab.exec("external/client", server, { timeoutMs: 600_000 }).catch(() => undefined);
  await lab.until("the server outside answers", async () => (await fetchFrom(lab, "tor", far[4], 8080, 2)) !== null);
}
