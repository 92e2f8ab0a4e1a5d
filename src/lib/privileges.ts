/** What each program must be allowed to do. Asked once at start, so that its lack is one clear message and not a failed call. */
import { TandemError } from "./errors.ts";

/** Bits of capability sets (linux/capability.h). */
const bits = { NET_ADMIN: 12, NET_RAW: 13, SYS_ADMIN: 21, PERFMON: 38, BPF: 39 } as const;

/** As the manifests add them, by program. */
export const capabilities = {
  /** Programs and maps; devices, routes and raw sockets; mounts and the pods' namespaces. */
  "tandem-agent": ["BPF", "PERFMON", "NET_ADMIN", "NET_RAW", "SYS_ADMIN"],
  /** The agent's maps; sockets with addresses of others; answers of DNS in their servers' names. */
  "tandem-proxy": ["BPF", "NET_ADMIN", "NET_RAW"],
} as const satisfies Readonly<Record<string, readonly (keyof typeof bits)[]>>;

const purposes = {
  "tandem-agent": "loading eBPF and changing the network take",
  "tandem-proxy": "judging requests takes",
} as const;

/**
 * @param processStatus text of /proc/self/status
 * @throws TandemError NO_ROOT naming what is missing
 */
export function requirePrivileges(program: keyof typeof capabilities, processStatus: string): void {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(processStatus)?.[1] ?? "0"}`);
  const missing = capabilities[program].filter((name) => (effective & (1n << BigInt(bits[name]))) === 0n);
  if (missing.length === 0) return;
  throw new TandemError({
    code: "NO_ROOT",
    object: program,
    message: `${purposes[program]} privileges that this process lacks: ${missing.map((name) => `CAP_${name}`).join(", ")}`,
    remedy: "run it as root (sudo), or give the container these capabilities",
  });
}
