/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Settings that the agent writes into .rodata before a program is loaded: what a kernel offers and what a node wants is
 * known then, and the verifier drops the branches that are not taken. */
#ifndef TANDEM_CONFIG_H
#define TANDEM_CONFIG_H

#include "types.h"

/* 1: bpf_redirect_peer delivers into the pod (5.10+); 0: to the host side's egress, where to_pod sees the packet again. */
const volatile __u32 config_redirect_peer = 1;
/* 1: programs can ask the kernel's conntrack (5.18+, where it is built in or loaded); 0: they know what the agent copied from it (map kernel_flow). */
const volatile __u32 config_kernel_conntrack = 0;
/* enum proxy_redirect; without ASSIGN nothing calls bpf_sk_assign (5.7+). */
const volatile __u32 config_proxy_redirect = PROXY_REDIRECT_ASSIGN;
/* What a pod that reaches itself through its service sees as the client. Link-local, so that it never leaves the node. */
const volatile __u8 config_loopback_ipv4[4] = {169, 254, 42, 1};
const volatile __u8 config_loopback_ipv6[16] = {0xfd, 0x74, 0x61, 0x6e, 0x64, 0x65, 0x6d, 0, 0, 0, 0, 0, 0, 0, 0, 1};

/* 1: what pods send to where their own addresses are not known leaves under the node's address. */
const volatile __u32 config_masquerade_ipv4 = 0;
const volatile __u32 config_masquerade_ipv6 = 0;
/* 1: what backends on other nodes answer directly goes there in packets of this node's own (IP in IP). */
const volatile __u32 config_dsr_tunnel = 0;
/* Cookie of the node's own network namespace; 0: the kernel does not tell. */
const volatile __u64 config_node_netns = 0;
/* Ports that stand for services are not given to flows. */
const volatile __u32 config_node_port_first = 30000;
const volatile __u32 config_node_port_last = 32767;

/* Seconds without a packet after which a conntrack entry counts as absent. The agent's sweep uses the same values. */
const volatile __u32 config_timeout_tcp_opening = 60;
const volatile __u32 config_timeout_tcp_established = 21600;
const volatile __u32 config_timeout_tcp_closing = 10;
const volatile __u32 config_timeout_udp_unreplied = 30;
const volatile __u32 config_timeout_udp_replied = 180;
const volatile __u32 config_timeout_icmp = 60;
const volatile __u32 config_timeout_other = 600;

/* In skb->mark. TO_LISTENER: for a socket of the L7 proxy that nft has yet to find, LISTENER_MASK says which if it opens a flow; nft makes it TO_PROXY.
 * TO_PROXY: for a socket of the L7 proxy, whatever its destination. PROXY: from one, so that it was judged when it came. JUDGED: a program of ours gave it to the stack, which sends it where routes say; to_network lets it pass, to_pod
 * does not, for the pod that it comes to was not asked. DELIVERED: both ends were asked, to_pod lets it pass. MASQUERADE: as JUDGED, and
 * to_network gives it the node's address. */
#define MARK_MASK 0x0f00
#define MARK_TO_LISTENER 0x0900
#define MARK_TO_PROXY 0x0a00
#define MARK_PROXY 0x0b00
#define MARK_MASQUERADE 0x0c00
#define MARK_JUDGED 0x0d00
#define MARK_DELIVERED 0x0e00
#define MARK_LISTENER_MASK 0x00ff0000
#define MARK_LISTENER_SHIFT 16

#endif
