import test from "ava";
import { ProgramNode } from "../../support/programs.ts";
import { runRows } from "../../vm/verdicts.ts";

test("the verdicts that every kernel gives", async (t) => {
  const node = await ProgramNode.create();
  t.teardown(() => node.remove());
  await runRows(node, (title, expected, seen) => t.is(seen, expected, title));
});
