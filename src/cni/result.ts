/** ADD's answer in the shape of the version that the runtime asked for (specification, section 5 "Success"). */
import type { EndpointRecord } from "./endpoint-files.ts";
import type { CniVersion, Dns } from "./request.ts";
import { gateway4, gateway6 } from "./wiring-plan.ts";

/** JSON text for stdout. Index 0 of interfaces is the host's end, 1 the pod's. */
export function addResult(version: CniVersion, record: EndpointRecord, dns: Dns | null): string {
  const { row } = record;
  // Members that a version does not know are left out: before 1.0 addresses say their family, since 1.1 devices their MTU.
  const mtu = version === "1.1.0" ? { mtu: record.mtu } : {};
  const family = (version4or6: "4" | "6") => (version.startsWith("0.") ? { version: version4or6 } : {});
  const ips = [];
  const routes = [];
  if (row.ipv4 !== null) {
    ips.push({ ...family("4"), address: `${row.ipv4.text}/32`, gateway: gateway4.text, interface: 1 });
    routes.push({ dst: "0.0.0.0/0", gw: gateway4.text });
  }
  if (row.ipv6 !== null) {
    ips.push({ ...family("6"), address: `${row.ipv6.text}/128`, gateway: gateway6.text, interface: 1 });
    routes.push({ dst: "::/0", gw: gateway6.text });
  }
  const result = {
    cniVersion: version,
    interfaces: [
      { name: record.hostDevice, mac: row.hostMac, ...mtu },
      { name: row.ifname, mac: row.podMac, ...mtu, sandbox: row.netns },
    ],
    ips,
    routes,
    dns: dns ?? {},
  };
  return `${JSON.stringify(result)}\n`;
}
