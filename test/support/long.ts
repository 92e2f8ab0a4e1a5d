/**
 * Tests that take a minute or more of two cores, and whose subject shorter ones hold in part: they run with TANDEM_LONG_TESTS=1 (`scripts/test
 * --long`), so that the usual run stays well inside half an hour.
 */
import test, { type ImplementationFn } from "ava";

export function longTest(title: string, implementation: ImplementationFn<[]>): void {
  if (process.env.TANDEM_LONG_TESTS === "1") test(title, implementation);
  else test.skip(`${title} (it is long: TANDEM_LONG_TESTS=1 or scripts/test --long)`, implementation);
}
