/** Services over ways that take less than the client's: who sends too much is told, and everything arrives. */
import test, { type ExecutionContext } from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, pod, podAddress, settled, withLab } from "../support/lab.ts";

const vips = ["203.0.113.10", "2001:db8:aa::10"] as const;
const bytes = 400_000;

/** Answers with as many bytes as it was sent. */
const code = `require("http").createServer((asked, answer) => {
  let length = 0;
  asked.on("data", (chunk) => (length += chunk.length)).on("end", () => answer.end("x".repeat(length)));
}).listen(8080, "::")`;

const backend = pod("backend", { node: "node-2", ports: [], command: [process.execPath, "-e", code] });

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "backend", namespace: "default" },
  spec: {
    type: "LoadBalancer",
    ipFamilyPolicy: "PreferDualStack",
    selector: { app: "backend" },
    ports: [{ port: 80, targetPort: 8080 }],
  },
  status: { loadBalancer: { ingress: vips.map((ip) => ({ ip })) } },
};

async function ip(lab: Lab, place: string, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(place, ["ip", ...words]);
  if (code !== 0) throw new Error(`ip ${words.join(" ")}: ${stderr}`);
  return stdout;
}

/** Packets that node-1 found too large so far. */
async function tooLarge(lab: Lab): Promise<number> {
  const { drops } = await agentStatus(lab, "node-1");
  return drops.filter(({ reason }) => reason.startsWith("larger than")).reduce((sum, { packets }) => sum + packets, 0);
}

/** The client sends and gets `bytes` through the service by node-1, from where both ways take 1,300 bytes. */
async function bothWays(t: ExecutionContext, lab: Lab, answersDirectly: boolean): Promise<void> {
  const { tor } = lab.plan;
  const [one, two] = [lab.node("node-1"), lab.node("node-2")];
  for (const [family, vip, number] of [
    ["-4", vips[0], 4],
    ["-6", vips[1], 6],
  ] as const) {
    const of = (place: { readonly ipv4: string; readonly ipv6: string }) => (number === 4 ? place.ipv4 : place.ipv6);
    await ip(lab, "tor", family, "route", "replace", vip, "via", of(one));
    const shown = await ip(lab, "external/client", family, "-br", "addr", "show", "scope", "global");
    const client = /\s([0-9a-f.:]+)\/\d+/.exec(shown)?.[1] ?? "none";
    const narrow = ["mtu", "lock", "1300"];
    await ip(
      lab,
      "node/node-1",
      family,
      "route",
      "add",
      await podAddress(lab, "default/backend", number),
      "via",
      of(two),
      ...narrow,
    );
    await ip(lab, "node/node-1", family, "route", "add", client, "via", of(tor), ...narrow);
    const before = await tooLarge(lab);
    const host = number === 6 ? `[${vip}]` : vip;
    const words = ["curl", "-sg", "-m", "60", "-w", "%{http_code} %{size_upload} %{size_download}", "-o", "/dev/null"];
    const sent = `head -c ${bytes} /dev/zero | ${words.map((word) => `'${word}'`).join(" ")} --data-binary @- http://${host}/`;
    const { stdout, stderr } = await lab.exec("external/client", ["sh", "-c", sent]);
    t.is(stdout, `200 ${bytes} ${bytes}`, `${vip}: ${stderr}`);
    const told = (await tooLarge(lab)) - before;
    t.true(told > (answersDirectly ? 0 : 1), `${vip}: ${told} packets were too large`);
  }
}

for (const loadBalancerMode of ["snat", "dsr"] as const) {
  test(`an upload and a download through a service over ways that take less (${loadBalancerMode})`, (t) =>
    withLab(t, { nodes: 2, objects: [backend, service], agent: { loadBalancerMode } }, async (lab) => {
      await settled(lab);
      await bothWays(t, lab, loadBalancerMode === "dsr");
    }));
}
