/** What this kernel offers, and what the datapath chooses by it. Every probe really tried the thing; versions are never asked. */
import type { AgentConfig } from "../config/index.ts";
import { TandemError } from "../lib/errors.ts";
import type { Features, TcMode } from "../native/bpf-contract.ts";

/** assign: bpf_sk_assign; tproxy: nft; closed: neither can be had. */
export type Redirect = "assign" | "tproxy" | "closed";

export interface Capabilities {
  readonly features: Features;
  readonly mode: TcMode;
  /** bpf_redirect_peer delivers into pods. */
  readonly redirectPeer: boolean;
  /** Programs ask the kernel's conntrack; else the agent copies what they have to know of it (`kernel-flows.ts`). */
  readonly kernelConntrack: boolean;
  /** How the programs bring packets to the L7 proxy, and why not the other way; empty: it is the usual one. */
  readonly redirect: Exclude<Redirect, "closed">;
  readonly redirectWhy: string;
  /** Sockets can be asked for their peer's name (getpeername hooks). */
  readonly peerNames: boolean;
  /** Drivers can run programs before there is a packet. */
  readonly xdp: boolean;
}

/** Without one of these no program can be loaded. The kernel is the first upstream one that has it, where its configuration does. */
const required: readonly { readonly name: string; readonly text: string; readonly kernel: string }[] = [
  { name: "lru_hash", text: "LRU hash maps (conntrack)", kernel: "4.10" },
  { name: "lpm_trie", text: "LPM tries (prefixes and ports of policies)", kernel: "4.11" },
  { name: "fib_lookup", text: "bpf_fib_lookup (routes)", kernel: "4.18" },
  { name: "btf", text: "the kernel's own types (BTF, CONFIG_DEBUG_INFO_BTF)", kernel: "5.4" },
  { name: "ringbuf", text: "ring buffers (events)", kernel: "5.8" },
  { name: "redirect_neigh", text: "bpf_redirect_neigh (delivery to other nodes)", kernel: "5.10" },
];

/** @throws TandemError KERNEL_FEATURE_MISSING */
export function chooseCapabilities(
  features: Features,
  { tcMode, proxyRedirect, kernelFlows }: Pick<AgentConfig, "tcMode" | "proxyRedirect" | "kernelFlows">,
): Capabilities {
  const has = (name: string) => features[name]?.supported === true;
  const missing = required.filter(({ name }) => !has(name));
  const needed = [
    ...missing,
    ...(tcMode === "tcx" && !has("tcx") ? [tcxWanted] : []),
    ...(proxyRedirect === "assign" && !has("sk_assign") ? [assignWanted] : []),
  ];
  if (needed.length > 0) {
    throw new TandemError({
      code: "KERNEL_FEATURE_MISSING",
      object: "kernel",
      message: needed
        .map(({ name, text, kernel }) => {
          const detail = features[name]?.detail ?? "";
          return `${text} are missing${detail === "" ? "" : ` (${detail})`}: Linux ${kernel} has them`;
        })
        .join("; "),
      remedy: missing.length > 0 ? "use a newer kernel; Tandem needs Linux 5.10" : remedyOf(needed),
    });
  }
  return {
    features,
    mode: tcMode === "auto" ? (has("tcx") ? "tcx" : "clsact") : tcMode,
    redirectPeer: has("redirect_peer"),
    kernelConntrack: kernelFlows === "auto" && has("kernel_conntrack"),
    ...chooseRedirect(features, proxyRedirect),
    peerNames: has("cgroup_getpeername"),
    xdp: has("xdp"),
  };
}

function chooseRedirect(
  features: Features,
  proxyRedirect: AgentConfig["proxyRedirect"],
): Pick<Capabilities, "redirect" | "redirectWhy"> {
  if (proxyRedirect === "tproxy") return { redirect: "tproxy", redirectWhy: "setting proxyRedirect" };
  const { supported = false, detail = "" } = features.sk_assign ?? {};
  if (supported) return { redirect: "assign", redirectWhy: "" };
  return { redirect: "tproxy", redirectWhy: `bpf_sk_assign is missing${detail === "" ? "" : `: ${detail}`}` };
}

/** Of what only settings want. */
function remedyOf(needed: readonly { readonly name: string }[]): string {
  const words = [
    ...(needed.some(({ name }) => name === "tcx") ? ["tcMode to auto or clsact"] : []),
    ...(needed.some(({ name }) => name === "sk_assign") ? ["proxyRedirect to auto or tproxy"] : []),
  ];
  return `set ${words.join(" and ")}`;
}

const assignWanted = { name: "sk_assign", text: "bpf_sk_assign (setting proxyRedirect)", kernel: "5.7" } as const;
const tcxWanted = { name: "tcx", text: "TCX links (setting tcMode)", kernel: "6.6" } as const;
