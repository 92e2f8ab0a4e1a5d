/**
 * Runs inside of the VM that scripts/test-in-vm boots: an older kernel must accept every object, the feature probes must say
 * truly what it lacks, packets must get the verdicts that they get on every kernel, and kube-router's tunnels, which not every kernel has devices for,
 * must carry pods' traffic. Prints each check and "N passed, N failed"; exit code 1 if one failed.
 */
import { release } from "node:os";
import { join } from "node:path";
import { chooseCapabilities } from "../../src/datapath/features.ts";
import type { TandemError } from "../../src/lib/errors.ts";
import { loadNative, packageRoot } from "../../src/native/index.ts";
import { ProgramNode } from "../support/programs.ts";
import { checkIpvs } from "./ipvs.ts";
import { TunnelChecks } from "./tunnels.ts";
import { runRows } from "./verdicts.ts";

const native = loadNative();
let passed = 0;
let failed = 0;

async function check(title: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
    passed++;
    console.log(`ok ${title}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${title}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function expect(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

const [major = 0, minor = 0] = release().split(".").map(Number);
const newerThan = (a: number, b: number) => major > a || (major === a && minor >= b);
console.log(`kernel ${release()}`);

await check("programs are attached to a device by clsact, and taken off", async () => {
  const loaded = await native.loadObject({
    path: join(packageRoot(), "build/bpf/network.bpf.o"),
    pinPath: null,
    rodata: [],
    maxEntries: [],
    skipPrograms: [],
    reuseMaps: [],
  });
  const program = loaded.programs.find(({ name }) => name === "from_network")?.handle ?? 0;
  const lo = { index: 1, netns: null };
  expect((await native.attachTc(program, lo, "ingress", "clsact", null)) === "attached", "attached");
  expect((await native.attachTc(program, lo, "ingress", "clsact", null)) === "updated", "replaced in place");
  await native.detachTc(lo, "ingress", "clsact", null);
  native.closeObject(loaded.object);
});

// Before all that takes long: its agent loads meanwhile.
let tunnels: TunnelChecks | null = null;
await check("three nodes with gobgpd, bird and kube-router's tunnels are made", async () => {
  tunnels = await TunnelChecks.start(check);
});

await check("probes say whether this kernel has TCX (6.6) and redirect_peer (5.10)", async () => {
  const features = await native.probeFeatures();
  for (const [name, { supported, detail }] of Object.entries(features))
    console.log(`  ${name}: ${supported ? "yes" : `no (${detail})`}`);
  expect(features.tcx?.supported === newerThan(6, 6), `tcx: ${JSON.stringify(features.tcx)}`);
  expect(
    features.redirect_peer?.supported === newerThan(5, 10),
    `redirect_peer: ${JSON.stringify(features.redirect_peer)}`,
  );
});

await check(
  "what this kernel lacks is named with the least kernel when a setting demands it, and done without when none does",
  async () => {
    const features = await native.probeFeatures();
    expect(
      chooseCapabilities(features, { tcMode: "auto", proxyRedirect: "auto", kernelFlows: "auto" }).mode ===
        (newerThan(6, 6) ? "tcx" : "clsact"),
      "the way to attach",
    );
    if (newerThan(6, 6)) return;
    try {
      chooseCapabilities(features, { tcMode: "tcx", proxyRedirect: "auto", kernelFlows: "auto" });
    } catch (error) {
      const { code, message, remedy } = error as TandemError;
      expect(
        code === "KERNEL_FEATURE_MISSING" && /TCX.*6\.6/.test(message) && /clsact/.test(remedy),
        `${code}: ${message}`,
      );
      return;
    }
    throw new Error("nothing was missing");
  },
);

await checkIpvs(native, check);

for (const name of ["pod", "network", "sock"]) {
  await check(`the verifier accepts every program of ${name}.bpf.o`, async () => {
    const loaded = await native.loadObject({
      path: join(packageRoot(), `build/bpf/${name}.bpf.o`),
      pinPath: null,
      rodata: [],
      maxEntries: [],
      skipPrograms: [],
      reuseMaps: [],
    });
    expect(loaded.programs.length > 0, "no programs were loaded");
    native.closeObject(loaded.object);
  });
}

// What bpf_redirect_peer needs is there or not; the same packets get the same verdicts.
for (const redirectPeer of newerThan(5, 10) ? [1, 0] : [0]) {
  const node = await ProgramNode.create({ config_redirect_peer: redirectPeer });
  try {
    await runRows(node, (title, expected, seen) => {
      if (seen === expected) passed++;
      else failed++;
      console.log(`${seen === expected ? "ok" : "not ok"} ${title}: ${seen} (redirect_peer ${redirectPeer})`);
    });
  } finally {
    await node.remove();
  }
}

await (tunnels as TunnelChecks | null)?.run();

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
