/** What scripts/demo shows, step by step, by the same commands that a user has. */
import { parseArgs } from "node:util";
import { styleText } from "node:util";
import { Demo } from "./demo-steps.ts";

const { values } = parseArgs({
  options: { keep: { type: "boolean", default: false }, name: { type: "string", default: "demo" } },
});

const demo = new Demo(values.name);
let failed = true;
const interrupted = () => {
  console.error("\ninterrupted: taking the lab down");
  void demo.down().finally(() => process.exit(130));
};
process.once("SIGINT", interrupted);
process.once("SIGTERM", interrupted);
try {
  await demo.up();
  await demo.connections("Before any policy: everything reaches everything", false);
  await demo.applyPolicies();
  await demo.connections("With the policies of examples/shop/20-policies.yaml", true);
  await demo.service();
  await demo.routes();
  await demo.killedAgent();
  failed = demo.unexpected > 0;
} catch (error) {
  console.error(styleText("red", error instanceof Error ? error.message : String(error)));
} finally {
  process.off("SIGINT", interrupted);
  if (values.keep && !failed) demo.sayWhatToTry();
  else await demo.down();
}
console.log(
  failed ? styleText("red", "Not everything was as expected.") : styleText("green", "Everything was as expected."),
);
process.exitCode = failed ? 1 : 0;
