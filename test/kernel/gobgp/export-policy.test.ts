/** Our own export policy in a real gobgpd, beside one that is there, whatever was left of it. */
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import test from "ava";
import { startGobgpd } from "./support.ts";

const run = promisify(execFile);

const config = `
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

test("the policy is added once, and again where it was taken out of force; what is there stays", async (t) => {
  const { client: connected, address } = await startGobgpd(t, config);
  const port = address.slice(address.lastIndexOf(":") + 1);
  const { signal } = new AbortController();
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

  await run("gobgp", ["-p", port, "global", "policy", "export", "del", "tandem_services"]);
  t.deepEqual(await inForce(), ["theirs", "reject"]);
  await connected.addExportPolicy(signal);
  t.deepEqual(await inForce(), ["theirs", "tandem_services", "reject"]);
});
