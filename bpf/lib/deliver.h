/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The last step of an allowed packet: into a pod of this node, to another node as the kernel's routes say, or to the stack. */
#ifndef TANDEM_LIB_DELIVER_H
#define TANDEM_LIB_DELIVER_H

#include <tandem/config.h>
#include <tandem/maps.h>
#include "observe.h"
#include "packet.h"


#define FAMILY_IPV4 2 /* AF_INET, AF_INET6 */
#define FAMILY_IPV6 10

static __always_inline int to_stack(struct __sk_buff *skb)
{
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_JUDGED;
	return TC_ACT_OK;
}

/* A router takes one hop off. False: the hop limit is used up, and the stack has to tell the sender (RFC 1812 5.3.1). */
static __always_inline bool decrement_ttl(struct __sk_buff *skb, const struct packet *packet, const bool v6)
{
	if (packet->ttl <= 1)
		return false;
	if (v6) {
		struct ipv6hdr *ip = at(skb, packet->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->hop_limit--;
	} else {
		struct iphdr *ip = at(skb, packet->l3, sizeof(*ip));
		__u32 check;

		if (!ip)
			return false;
		/* RFC 1141: the word of TTL and protocol falls by 0x0100 */
		check = ip->check + bpf_htons(0x0100);
		ip->check = check + (check >= 0xffff);
		ip->ttl--;
	}
	return true;
}

static __always_inline bool set_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	struct ethhdr *eth = at(skb, 0, sizeof(*eth));

	if (!eth)
		return false;
	__builtin_memcpy(eth->h_dest, destination, 6);
	__builtin_memcpy(eth->h_source, source, 6);
	return true;
}

/* Into a pod of this node. */
static __always_inline int deliver_local(struct __sk_buff *skb, struct packet *packet, const struct endpoint *to, bool hop,
					 const bool v6)
{
	if (hop && !decrement_ttl(skb, packet, v6))
		return to_stack(skb);
	if (packet->l3 == 0) { /* from an L3 device: the pod wants an Ethernet header */
		struct ethhdr eth = {.h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP)};

		__builtin_memcpy(eth.h_dest, to->pod_mac, 6);
		__builtin_memcpy(eth.h_source, to->host_mac, 6);
		if (bpf_skb_change_head(skb, ETH_LENGTH, 0) || bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
			return TC_ACT_SHOT;
	} else if (!set_macs(skb, to->pod_mac, to->host_mac)) {
		return TC_ACT_SHOT;
	}
	if (config_redirect_peer)
		return bpf_redirect_peer(to->ifindex, 0);
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_JUDGED;
	return bpf_redirect(to->ifindex, 0);
}

/* To another node or out of the cluster, as the kernel's routes say (ECMP and policy routing included). What the lookup
 * refuses (no route, too large, forwarding off) and what leaves by an L3 device is the stack's: it answers or routes. */
static __always_inline int deliver_remote(struct __sk_buff *skb, struct packet *packet, const bool v6)
{
	struct bpf_fib_lookup fib = {
		.family = v6 ? FAMILY_IPV6 : FAMILY_IPV4,
		.l4_protocol = packet->protocol,
		.ifindex = skb->ingress_ifindex,
	};
	struct bpf_redir_neigh next = {};
	struct device_key key;
	struct device *out;
	long result;

	/* GSO packets are cut to size later; a length of 0 skips the check against the MTU */
	fib.tot_len = skb->gso_segs > 1 ? 0 : packet->l3_length;
	if (v6) {
		__builtin_memcpy(fib.ipv6_src, packet->source.bytes, 16);
		__builtin_memcpy(fib.ipv6_dst, packet->destination.bytes, 16);
	} else {
		fib.ipv4_src = *ipv4_of(&packet->source);
		fib.ipv4_dst = *ipv4_of(&packet->destination);
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return to_stack(skb);
	key.ifindex = fib.ifindex;
	out = bpf_map_lookup_elem(&device, &key);
	if (!out || out->flags & DEVICE_L3)
		return to_stack(skb);
	if (!decrement_ttl(skb, packet, v6))
		return to_stack(skb);
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_JUDGED;
	next.nh_family = fib.family;
	if (fib.family == FAMILY_IPV6)
		__builtin_memcpy(next.ipv6_nh, fib.ipv6_dst, 16);
	else
		next.ipv4_nh = fib.ipv4_dst;
	return bpf_redirect_neigh(fib.ifindex, &next, sizeof(next), 0);
}

static __noinline int deliver_remote4(struct __sk_buff *skb, struct packet *packet)
{
	return deliver_remote(skb, packet, false);
}

static __noinline int deliver_remote6(struct __sk_buff *skb, struct packet *packet)
{
	return deliver_remote(skb, packet, true);
}

#endif
