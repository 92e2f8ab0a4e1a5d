import { readFileSync } from "node:fs";
import test from "ava";
import { describeProxyConfig, loadProxyConfig } from "../../../src/proxy/settings.ts";

test("docs/l7.md tells of every setting its type, default, flag, variable and meaning", (t) => {
  const page = readFileSync(new URL("../../../docs/l7.md", import.meta.url), "utf8");
  for (const { name, type, default: standard, flag, variable, description } of describeProxyConfig()) {
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

test("a setting that cannot be used keeps the proxy from starting, and is named", (t) => {
  const load = (env: Readonly<Record<string, string>>) => loadProxyConfig({ argv: [], env, readFile: () => "" });
  t.is(load({ TANDEM_PROXY_DRAIN_SECONDS: "5" }).drainSeconds, 5);
  const error = t.throws(() => load({ TANDEM_PROXY_DRAIN_SECONDS: "soon" }), { code: "CONFIG_INVALID" });
  t.regex(error?.message ?? "", /drainSeconds/);
});
