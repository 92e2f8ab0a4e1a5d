import test from "ava";
import { requirePrivileges } from "../../../src/lib/privileges.ts";

test("missing capabilities are named; all of them are enough, root or not", (t) => {
  t.notThrows(() => requirePrivileges("tandem-agent", "Uid:\t1000\nCapEff:\t000001ffffffffff\n"));
  t.throws(() => requirePrivileges("tandem-agent", "CapEff:\t0000000000000000\n"), {
    code: "NO_ROOT",
    message: /CAP_BPF.*CAP_NET_ADMIN/,
  });
  const error = t.throws(() => requirePrivileges("tandem-agent", "CapEff:\t0000003fffffffff\n"), { code: "NO_ROOT" });
  t.false(error?.message.includes("CAP_NET_ADMIN"));
  t.notThrows(() => requirePrivileges("tandem-proxy", "CapEff:\t0000008000003000\n"));
  t.throws(() => requirePrivileges("tandem-proxy", "CapEff:\t0000008000001000\n"), {
    code: "NO_ROOT",
    message: /lacks: CAP_NET_RAW$/,
  });
});
