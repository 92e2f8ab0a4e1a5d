import { readFileSync } from "node:fs";
import test from "ava";
import { readHealthAddress } from "../../../src/operator/health.ts";
import { describeOperatorConfig, loadOperatorConfig, operatorHelp } from "../../../src/operator/settings.ts";

const load = (argv: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  loadOperatorConfig({ argv, env, readFile: () => "" });

test("an operator runs without any setting, and its help names all of them", (t) => {
  t.like(load([]), { kubeconfig: null, clusterId: 0, leaseDuration: 15, leaseRenewDeadline: 10, leaseRetry: 2 });
  for (const name of Object.keys(load([]))) {
    t.true(operatorHelp().includes(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} <`), name);
  }
});

test("times of the lease that could make two leaders, or none, are refused", (t) => {
  for (const argv of [["--lease-renew-deadline=15"], ["--lease-retry=10"], ["--lease-duration=9"]]) {
    t.throws(() => load(argv), { code: "CONFIG_INVALID", message: /has to be less than/ });
  }
  t.is(load(["--lease-duration=60", "--lease-renew-deadline=40"]).leaseDuration, 60);
  t.throws(() => load([], { TANDEM_OPERATOR_CLUSTER_ID: "256" }), { code: "CONFIG_INVALID", message: /clusterId/ });
});

test("health is told to this machine only", (t) => {
  t.deepEqual(readHealthAddress("127.0.0.1:80"), { host: "127.0.0.1", port: 80 });
  t.deepEqual(readHealthAddress("[::1]:9965"), { host: "::1", port: 9_965 });
  t.is(readHealthAddress("/run/tandem/operator.sock"), "/run/tandem/operator.sock");
  for (const address of [
    "0.0.0.0:9965",
    "10.0.0.1:80",
    "[::]:80",
    "example.com:80",
    "127.0.0.1",
    "127.0.0.1:70000",
    "",
  ]) {
    t.throws(() => readHealthAddress(address), { code: "HEALTH_ADDRESS" }, address);
  }
});

test("docs/operator.md tells of every setting its type, default, flag, variable and meaning", (t) => {
  const page = readFileSync(new URL("../../../docs/operator.md", import.meta.url), "utf8");
  for (const { name, type, default: standard, flag, variable, description } of describeOperatorConfig()) {
    const cells = [
      `\`${name}\``,
      type.replaceAll("|", ", "),
      `\`${standard}\``,
      `\`${flag}\``,
      `\`${variable}\``,
      description,
    ];
    t.true(page.includes(`\n| ${cells.join(" | ")} |\n`), name);
  }
});
