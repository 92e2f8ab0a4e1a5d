/** Maglev tables as the kernel has them, in the API's words. */
import { createHash } from "node:crypto";
import type { MaglevTableDto } from "../api/dto.ts";
import type { DesiredFrontend } from "../compute/desired.ts";
import type { KernelMaglev } from "../datapath/report.ts";
import { compareAddresses } from "../model/ip.ts";
import { frontendKey, textOf } from "./kernel.ts";
import { protocolName } from "./text.ts";

const digestLength = 16;

/**
 * By frontend, then kind of client.
 * @param frontends those that compute wants, which know the names of their services
 */
export function maglevReport(
  kernel: readonly KernelMaglev[],
  frontends: readonly DesiredFrontend[],
): readonly MaglevTableDto[] {
  const known = new Map(frontends.map((frontend) => [frontendKey(frontend, frontend.protocol), frontend.service]));
  const sorted = [...kernel].sort(
    (a, b) =>
      compareAddresses(a.frontend.address, b.frontend.address) ||
      a.frontend.port - b.frontend.port ||
      a.protocol - b.protocol ||
      Number(a.outside) - Number(b.outside),
  );
  return sorted.map(({ frontend, protocol, outside, backends, table }) => {
    const counts = backends.map(() => 0);
    for (const at of table) if (at !== null) counts[at] = (counts[at] ?? 0) + 1;
    const names = backends.map(textOf);
    return {
      service: known.get(frontendKey(frontend, protocol)) ?? "",
      frontend: textOf(frontend),
      protocol: protocolName(protocol),
      clients: outside ? "outside" : "inside",
      slots: table.length,
      digest: digestOf(names, table),
      backends: names.map((backend, at) => ({ backend, slots: counts[at] ?? 0 })),
      table,
    };
  });
}

/** Slots that name no backend count as such, too: such a table is like no other. */
function digestOf(backends: readonly string[], table: readonly (number | null)[]): string {
  const text = `${backends.join(" ")}\n${table.join(" ")}`;
  return createHash("sha256").update(text).digest("hex").slice(0, digestLength);
}
