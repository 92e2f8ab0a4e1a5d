/** What the agent must be allowed to do. Asked once at start, so that its lack is one clear message and not a failed call. */
import { TandemError } from "../lib/errors.ts";

/** Bits of capability sets (linux/capability.h). CAP_SYS_ADMIN is for mounts and for entering the pods' namespaces. */
const needed = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_SYS_ADMIN: 21, CAP_PERFMON: 38, CAP_BPF: 39 } as const;

/**
 * @param processStatus text of /proc/self/status
 * @throws TandemError NO_ROOT naming what is missing
 */
export function requirePrivileges(processStatus: string): void {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(processStatus)?.[1] ?? "0"}`);
  const missing = Object.entries(needed)
    .filter(([, bit]) => (effective & (1n << BigInt(bit))) === 0n)
    .map(([name]) => name);
  if (missing.length === 0) return;
  throw new TandemError({
    code: "NO_ROOT",
    object: "tandem-agent",
    message: `loading eBPF and changing the network need privileges that this process lacks: ${missing.join(", ")}`,
    remedy: "run it as root (sudo), or give the container these capabilities",
  });
}
