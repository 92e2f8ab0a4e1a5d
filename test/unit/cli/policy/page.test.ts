import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { renderPolicyPage } from "../../../../scripts/policy-page.ts";
import { repository } from "./support.ts";

test("docs/policy.md has the fields that the code knows and what the commands print", async (t) => {
  const rendered = await renderPolicyPage(repository);
  t.deepEqual(
    rendered.map(({ path }) => path),
    ["docs/policy.md", "docs/policy-impact.svg"],
  );
  for (const { path, text } of rendered) {
    t.is(readFileSync(join(repository, path), "utf8"), text, `${path}: run npx tsx scripts/generate-policy-page.ts`);
  }
});
