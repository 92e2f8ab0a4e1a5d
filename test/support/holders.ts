/** Identities of addresses as desired state has them. */
import type { DesiredIdentity, DesiredState } from "../../src/compute/desired.ts";

export function holders(...identities: readonly DesiredIdentity[]): DesiredState["identities"] {
  return new Map(identities.map((each) => [each.address.text, each]));
}
