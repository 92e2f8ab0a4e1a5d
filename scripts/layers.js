/** The layering check: fails on an import that ARCHITECTURE's folder table forbids, and when it saw no modules at all. */
import { cruise } from "dependency-cruiser";
import extractOptions from "dependency-cruiser/config-utl/extract-depcruise-options";
import extractTsConfig from "dependency-cruiser/config-utl/extract-ts-config";

const options = await extractOptions("./.dependency-cruiser.cjs");
const result = await cruise(["src"], options, undefined, { tsConfig: extractTsConfig("tsconfig.json") });
const { summary } = result.output;

for (const violation of summary.violations) {
  const path = violation.cycle ? violation.cycle.map((step) => step.name).join(" -> ") : violation.to;
  console.error(`${violation.rule.severity} ${violation.rule.name}: ${violation.from} -> ${path}`);
}
console.log(
  `layers: ${summary.totalCruised} modules, ${summary.totalDependenciesCruised} imports, ${summary.error} violations`,
);
// A gate that saw nothing is no gate (dependency-cruiser is silent when the compiler it needs is missing).
if (summary.totalCruised < 20) {
  console.error("layers: too few modules were seen; is typescript installed in the version of the lockfile?");
  process.exit(2);
}
process.exit(summary.error > 0 ? 1 : 0);
