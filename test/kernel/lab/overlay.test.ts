import test from "ava";
import { LabError } from "../../../src/lab/errors.ts";
import { checkOverlay } from "../../../src/lab/overlay.ts";
import { run } from "../../../src/lab/run.ts";

test.serial(
  "a lab may have tunnels where the kernel has their devices, and is told what is missing elsewhere",
  async (t) => {
    // The device that the module itself makes in each namespace, or one that is asked for.
    const makes = async (words: string) => (await run(["unshare", "--net", "sh", "-c", `ip ${words}`])).code === 0;
    const missing = [
      ...((await makes("tunnel add tandem-t mode ipip local 192.0.2.1 remote 192.0.2.2")) ? [] : ["ipip"]),
      ...((await makes("-6 tunnel add tandem-t mode ip6ip6 local 2001:db8::1 remote 2001:db8::2")) ? [] : ["ip6tnl"]),
    ];
    for (const type of ["full", "subnet"] as const) {
      const error = await checkOverlay(type, "mesh").then(
        () => null,
        (reason: unknown) => reason,
      );
      if (missing.length === 0) {
        t.is(error, null);
        continue;
      }
      t.true(error instanceof LabError);
      t.like(error, { code: "LAB_OVERLAY", object: `--overlay ${type}` });
      for (const kind of missing) t.regex(String(error), new RegExp(`\\b${kind} \\(`));
      t.regex(String(error), /modprobe -a \w+/);
    }
  },
);

test("everything behind tunnels has no place where a router is a next hop", async (t) => {
  const error = await t.throwsAsync(checkOverlay("full", "fabric"), { instanceOf: LabError });
  t.is(error?.code, "LAB_OVERLAY");
  t.regex(error?.message ?? "", /--topology mesh/);
});
