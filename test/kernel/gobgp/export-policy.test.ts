/** Our own export policy in a real gobgpd, beside one that is there, whatever was left of it. */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import test from "ava";
import { GobgpClient } from "../../../src/sources/gobgp/client.ts";

const run = promisify(execFile);

/** Speaks to nobody: without a port for BGP. */
const config = `
[global.config]
  as = 64512
  router-id = "192.0.2.1"
  port = -1
[global.apply-policy.config]
  export-policy-list = ["theirs"]
  default-export-policy = "reject-route"
[[policy-definitions]]
  name = "theirs"
  [[policy-definitions.statements]]
    name = "theirs"
    [policy-definitions.statements.actions]
      route-disposition = "reject-route"
`;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

test("the policy is added once, and again where it was taken out of force; what is there stays", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-gobgp-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "gobgpd.toml"), config);
  const port = await freePort();
  const words = ["-f", join(folder, "gobgpd.toml"), "--api-hosts", `127.0.0.1:${port}`, "--pprof-disable"];
  const daemon = spawn("gobgpd", words, { stdio: "ignore" });
  t.teardown(() => void daemon.kill("SIGKILL"));
  const { signal } = new AbortController();
  let client: GobgpClient | null = null;
  for (let tries = 0; client === null; tries++) {
    client = await GobgpClient.connect(`127.0.0.1:${port}`, signal).catch((error: unknown) => {
      if (tries > 200) throw error;
      return null;
    });
    if (client === null) await sleep(100);
  }
  const connected = client;
  t.teardown(() => connected.close());
  const inForce = async () => {
    const assigned = await connected.policies("export", signal);
    const { defaultAction } = assigned[0] ?? { defaultAction: "none" };
    return [...assigned.flatMap(({ policies }) => policies.map(({ name }) => name)), defaultAction];
  };
  for (let tries = 0; (await inForce())[0] !== "theirs" && tries < 100; tries++) await sleep(50);
  const sets = async () =>
    (await connected.definedSets("prefix", signal)).map(({ name, prefixes }) => `${name} ${prefixes.length}`).sort();

  await connected.addExportPolicy(signal);
  await connected.addExportPolicy(signal);
  t.deepEqual(await inForce(), ["theirs", "tandem_services", "reject"]);
  t.deepEqual(await sets(), ["tandem_services 1", "tandem_services6 1"]);

  await run("gobgp", ["-p", String(port), "global", "policy", "export", "del", "tandem_services"]);
  t.deepEqual(await inForce(), ["theirs", "reject"]);
  await connected.addExportPolicy(signal);
  t.deepEqual(await inForce(), ["theirs", "tandem_services", "reject"]);
});
