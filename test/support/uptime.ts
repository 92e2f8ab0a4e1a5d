/** What is to look old was used that long ago, by a clock that began when the machine did: a young one is waited for. */
import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when the kernel's clock (CLOCK_MONOTONIC, bpf_ktime) is beyond so many seconds: at once on all machines but those that have just booted. */
export async function upFor(seconds: number): Promise<void> {
  const missingMs = seconds * 1000 - Number(process.hrtime.bigint() / 1_000_000n);
  if (missingMs >= 0) await sleep(missingMs + 1000);
}
