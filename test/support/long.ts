/**
 * Tests that take a minute or more of two cores, and whose subject shorter ones hold in part: they run with TANDEM_LONG_TESTS=1 (`scripts/test
 * --long`), so that the usual run stays well inside half an hour.
 */
import test, { type ImplementationFn } from "ava";

export const runsLongTests = process.env.TANDEM_LONG_TESTS === "1";
/** For the title of one that is left out. */
export const whyNotLong = "it is long: TANDEM_LONG_TESTS=1 or scripts/test --long";

export function longTest(title: string, implementation: ImplementationFn<[]>): void {
  if (runsLongTests) test(title, implementation);
  else test.skip(`${title} (${whyNotLong})`, implementation);
}
