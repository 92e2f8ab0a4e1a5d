/** A service that takes uploads and answers with as many bytes, and who uses it: for what only larger packets show. */
import type { Lab } from "../../src/lab/lab.ts";
import { pod } from "./lab.ts";

export const transferVips = ["203.0.113.10", "2001:db8:aa::10"] as const;
export const transferBytes = 400_000;

const code = `require("http").createServer((asked, answer) => {
  let length = 0;
  asked.on("data", (chunk) => (length += chunk.length)).on("end", () => answer.end("x".repeat(length)));
}).listen(8080, "::")`;

/** On node-2, so that a client who comes to node-1 finds it elsewhere. */
export const transferBackend = pod("backend", {
  node: "node-2",
  ports: [],
  command: [process.execPath, "-e", code],
});

export const transferService = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "backend", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "backend" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
  status: { loadBalancer: { ingress: transferVips.map((ip) => ({ ip })) } },
};

/** What ip(8) prints at that place of the lab. */
export async function ipAt(lab: Lab, place: string, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(place, ["ip", ...words]);
  if (code !== 0) throw new Error(`ip ${words.join(" ")}: ${stderr}`);
  return stdout;
}

/** The fabric leads both addresses to node-1. */
export async function announceTransfers(lab: Lab): Promise<void> {
  const { ipv4, ipv6 } = lab.node("node-1");
  await ipAt(lab, "tor", "-4", "route", "replace", transferVips[0], "via", ipv4);
  await ipAt(lab, "tor", "-6", "route", "replace", transferVips[1], "via", ipv6);
}

/** Who is there, left out: the client outside, sends `transferBytes` and gets as many: "200 400000 400000". */
export async function transfer(lab: Lab, address: string, from = "external/client", port = 80): Promise<string> {
  const host = `${address.includes(":") ? `[${address}]` : address}:${port}`;
  const shown = "%{http_code} %{size_upload} %{size_download}";
  const asked = `curl -sg -m 60 -w '${shown}' -o /dev/null --data-binary @- http://${host}/`;
  const { stdout } = await lab.exec(from, ["sh", "-c", `head -c ${transferBytes} /dev/zero | ${asked}`]);
  return stdout;
}
