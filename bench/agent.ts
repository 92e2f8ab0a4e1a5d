/** Agent start to ready, and resident memory, on a node with pods, policies and services; bare `node` is the baseline. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, printTable, root, type Row, sh, tandem } from "./support.ts";

interface AgentStatus {
  readonly ready: boolean;
  readonly readyMs: number | null;
  readonly memory: { readonly rssBytes: number };
}

export async function benchAgent(options: { readonly rounds: number }): Promise<readonly Row[]> {
  const lab = `benchagent${process.pid}`;
  const folder = mkdtempSync(join(tmpdir(), "tandem-bench-"));
  try {
    await sh(tandem("lab", "up", "--name", lab, "--nodes", "1", "-f", join(root, "examples/shop")), 180_000);
    const status = async (): Promise<AgentStatus> =>
      JSON.parse(await sh(tandem("lab", "agent", "--name", lab, "node-1", "--", "status", "--json"))) as AgentStatus;
    const ready: number[] = [];
    const memory: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < options.rounds; round++) {
      await sh(tandem("lab", "restart-agent", "--name", lab, "node-1"), 60_000);
      const seen = await status();
      ready.push(seen.readyMs ?? Number.NaN);
      memory.push(seen.memory.rssBytes / 1e6);
      const before = performance.now();
      await sh([process.execPath, "-e", "0"]);
      bare.push(performance.now() - before);
    }
    const rss = Number(await sh([process.execPath, "-e", "console.log(process.memoryUsage().rss)"])) / 1e6;
    const rows: Row[] = [
      {
        what: "restart on pins to ready",
        figure: `${median(ready).toFixed(0)} ms`,
        baseline: `${median(bare).toFixed(0)} ms (bare node, start to exit)`,
        ratio: median(bare) / median(ready),
        aim: "",
      },
      {
        what: "resident memory when ready",
        figure: `${median(memory).toFixed(0)} MB`,
        baseline: `${rss.toFixed(0)} MB (bare node)`,
        ratio: rss / median(memory),
        aim: "",
      },
    ];
    printTable("Agent start and memory", rows);
    return rows;
  } finally {
    await sh(tandem("lab", "down", "--name", lab), 60_000).catch((error: unknown) => console.error(String(error)));
    rmSync(folder, { recursive: true, force: true });
  }
}
