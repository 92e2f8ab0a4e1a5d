/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections that the kernel's own conntrack has: those that kube-proxy's or IPVS's rules began before Tandem served their address, and the
 * node's own in the name of others' rules. Programs of uplinks see their packets before netfilter does, which alone knows where they go and
 * which ports they have: no socket shows either. */
#ifndef TANDEM_LIB_KERNEL_FLOW_H
#define TANDEM_LIB_KERNEL_FLOW_H

#include <tandem/config.h>
#include <tandem/maps.h>
#include "context.h"

/* The fields that are read; CO-RE finds them where this kernel has them, in its own types or in those of the module nf_conntrack. */
struct nf_conn {
	unsigned long status;
} __attribute__((preserve_access_index));

/* NF_BPF_CT_OPTS_SZ of Linux 5.18; later kernels take this size too (net/netfilter/nf_conntrack_bpf.c). */
struct bpf_ct_opts___tandem {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};
_Static_assert(sizeof(struct bpf_ct_opts___tandem) == 12, "the kernel checks it");

struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 tuple_size, struct bpf_ct_opts___tandem *options,
				  __u32 options_size) __ksym __weak;
void bpf_ct_release(struct nf_conn *flow) __ksym __weak;

/* IPS_SEEN_REPLY (linux/netfilter/nf_conntrack_common.h): an entry that one packet of anybody's makes is none to go by. */
#define KERNEL_FLOW_REPLIED (1UL << 1)

/* As the agent saw them last; these were answered. */
static __always_inline __u32 copied_status(const struct bpf_sock_tuple *tuple, __u8 protocol, const bool v6)
{
	struct kernel_flow_key key = {.protocol = protocol};

	if (v6) {
		__builtin_memcpy(key.source.bytes, tuple->ipv6.saddr, 16);
		__builtin_memcpy(key.destination.bytes, tuple->ipv6.daddr, 16);
		key.source_port = tuple->ipv6.sport;
		key.destination_port = tuple->ipv6.dport;
	} else {
		set_ipv4(&key.source, tuple->ipv4.saddr);
		set_ipv4(&key.destination, tuple->ipv4.daddr);
		key.source_port = tuple->ipv4.sport;
		key.destination_port = tuple->ipv4.dport;
	}
	return bpf_map_lookup_elem(&kernel_flow, &key) ? KERNEL_FLOW_REPLIED : 0;
}

/* Its nf_conn.status, 0: there is none. An entry that is found is confirmed, so never 0. */
static __always_inline __u32 kernel_flow_status(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u8 protocol, const bool v6)
{
	struct bpf_ct_opts___tandem options = {.netns_id = BPF_F_CURRENT_NETNS, .l4proto = protocol};
	struct nf_conn *flow;
	__u32 status;

	if (!config_kernel_conntrack)
		return copied_status(tuple, protocol, v6);
	flow = bpf_skb_ct_lookup(skb, tuple, v6 ? sizeof(tuple->ipv6) : sizeof(tuple->ipv4), &options, sizeof(options));
	if (!flow)
		return 0;
	status = flow->status;
	bpf_ct_release(flow);
	return status;
}

static __always_inline __u32 is_kernel_flow(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	struct bpf_sock_tuple tuple = {};

	if (v6) {
		__builtin_memcpy(tuple.ipv6.saddr, packet->source.bytes, 16);
		__builtin_memcpy(tuple.ipv6.daddr, packet->destination.bytes, 16);
		tuple.ipv6.sport = packet->source_port;
		tuple.ipv6.dport = packet->destination_port;
		return kernel_flow_status(skb, &tuple, packet->protocol, v6) & KERNEL_FLOW_REPLIED;
	}
	tuple.ipv4.saddr = *ipv4_of(&packet->source);
	tuple.ipv4.daddr = *ipv4_of(&packet->destination);
	tuple.ipv4.sport = packet->source_port;
	tuple.ipv4.dport = packet->destination_port;
	return kernel_flow_status(skb, &tuple, packet->protocol, v6) & KERNEL_FLOW_REPLIED;
}

STEP is_kernel_flow4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? is_kernel_flow(skb, context, false) : 0;
}

STEP is_kernel_flow6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? is_kernel_flow(skb, context, true) : 0;
}

#endif
