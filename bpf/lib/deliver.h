/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The last step of an allowed packet: into a pod of this node, to another node as the kernel's routes say, or to the stack. */
#ifndef TANDEM_LIB_DELIVER_H
#define TANDEM_LIB_DELIVER_H

#include <tandem/config.h>
#include <tandem/maps.h>
#include "context.h"

#define FAMILY_IPV4 2 /* AF_INET, AF_INET6 */
#define FAMILY_IPV6 10

static __always_inline void set_mark(struct __sk_buff *skb, __u32 mark)
{
	skb->mark = (skb->mark & ~MARK_MASK) | mark;
}

static __always_inline int to_stack_as(struct __sk_buff *skb, __u32 mark)
{
	set_mark(skb, mark);
	return TC_ACT_OK;
}

static __always_inline int to_stack(struct __sk_buff *skb)
{
	return to_stack_as(skb, MARK_JUDGED);
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
	copy_mac(eth->h_dest, destination);
	copy_mac(eth->h_source, source);
	return true;
}

/* Into a pod of this node. */
static __always_inline int deliver_local(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *to,
					 const bool v6)
{
	if (!decrement_ttl(skb, packet, v6))
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
	set_mark(skb, MARK_DELIVERED);
	return bpf_redirect(to->ifindex, 0);
}

/* Bytes, from the IP header on, of the largest packet that goes out: one segment, where segments are still to be cut. 0 where nobody
 * can say, which skips the check against the route's MTU. */
static __always_inline __u32 sent_length(struct __sk_buff *skb, const struct packet *packet)
{
	if (!skb->gso_size)
		return packet->l3_length;
	return packet->l4_header ? packet->l4 - packet->l3 + packet->l4_header + skb->gso_size : 0;
}

/* Asks the kernel's routes (ECMP and policy routing included) for the packet's way: BPF_FIB_LKUP_RET_*, negative: malformed. */
static __always_inline long look_up_route(struct __sk_buff *skb, const struct packet *packet, struct bpf_fib_lookup *fib,
					  const bool with_options, const bool v6)
{
	/* the kernel spreads flows over paths by their ports, where it was told to; never fragments, of which most have none */
	if (packet->l4_header && !(packet->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))) {
		fib->sport = packet->source_port;
		fib->dport = packet->destination_port;
	}
	if (v6) {
		struct ipv6hdr *ip = at(skb, packet->l3, sizeof(*ip));

		if (!ip)
			return -1;
		fib->flowinfo = *(__be32 *)ip & bpf_htonl(0x0fffffff);
		__builtin_memcpy(fib->ipv6_src, packet->source.bytes, 16);
		__builtin_memcpy(fib->ipv6_dst, packet->destination.bytes, 16);
	} else {
		struct iphdr *ip = at(skb, packet->l3, sizeof(*ip));

		/* IPv4 options of others are the stack's, for a router has to act on them (RFC 1812 5.2.4), and so is multicast, for
		 * which the lookup would find the default route */
		if (!ip || (!with_options && ip->ihl > 5) || packet->destination.bytes[12] >= 224)
			return -1;
		fib->tos = ip->tos;
		fib->ipv4_src = *ipv4_of((struct address *)&packet->source);
		fib->ipv4_dst = *ipv4_of((struct address *)&packet->destination);
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}

static __always_inline bool is_routed(long result)
{
	return result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH;
}

static __always_inline int send_to_next_hop(const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh next = {.nh_family = fib->family};

	if (fib->family == FAMILY_IPV6)
		__builtin_memcpy(next.ipv6_nh, fib->ipv6_dst, 16);
	else
		next.ipv4_nh = fib->ipv4_dst;
	return bpf_redirect_neigh(fib->ifindex, &next, sizeof(next), 0);
}

/* To another node or out of the cluster, with context->mark. What the lookup refuses (no route, too large, forwarding off) and what
 * leaves by an L3 device is the stack's: it answers or routes. */
static __always_inline int deliver_remote(struct __sk_buff *skb, const struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct bpf_fib_lookup fib = {
		.family = v6 ? FAMILY_IPV6 : FAMILY_IPV4,
		.l4_protocol = packet->protocol,
		.ifindex = skb->ifindex,
		.tot_len = sent_length(skb, packet),
	};
	struct device_key key;
	struct device *out;

	if (!is_routed(look_up_route(skb, packet, &fib, false, v6)))
		return to_stack_as(skb, context->mark);
	key.ifindex = fib.ifindex;
	out = bpf_map_lookup_elem(&device, &key);
	if (!out || out->flags & DEVICE_L3)
		return to_stack_as(skb, context->mark);
	if (!decrement_ttl(skb, packet, v6))
		return to_stack_as(skb, context->mark);
	set_mark(skb, context->mark);
	return send_to_next_hop(&fib);
}

/* Of the way that a lookup found too narrow for a packet of `asked` bytes. Before Linux 5.12 it knows nothing but the device. */
static __always_inline __u32 mtu_of(const struct bpf_fib_lookup *fib, __u32 asked)
{
	struct device_key key = {.ifindex = fib->ifindex};
	struct device *out;

	if (fib->tot_len != (__u16)asked)
		return fib->tot_len;
	out = bpf_map_lookup_elem(&device, &key);
	return out ? out->mtu : 0;
}

/* Out by an uplink, for a packet that has a name of this node or of a service: the stack would take it for its own come back, so it is not
 * asked. `context->reason` says why it cannot leave, context->mtu how large it might have been. */
static __always_inline int forward(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct bpf_fib_lookup fib = {
		.family = v6 ? FAMILY_IPV6 : FAMILY_IPV4,
		.l4_protocol = packet->protocol,
		.ifindex = skb->ifindex,
		.tot_len = sent_length(skb, packet),
	};
	struct device_key key;
	struct device *out;
	long result = look_up_route(skb, packet, &fib, true, v6);

	context->reason = REASON_NO_ROUTE;
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		context->reason = REASON_TOO_LARGE;
		context->mtu = mtu_of(&fib, sent_length(skb, packet));
	}
	if (!is_routed(result))
		return TC_ACT_SHOT;
	key.ifindex = fib.ifindex;
	out = bpf_map_lookup_elem(&device, &key);
	if (!out || !decrement_ttl(skb, packet, v6))
		return TC_ACT_SHOT;
	context->reason = 0;
	set_mark(skb, MARK_JUDGED);
	return out->flags & DEVICE_L3 ? bpf_redirect(fib.ifindex, 0) : send_to_next_hop(&fib);
}

STEP forward4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? forward(skb, context, false) : TC_ACT_SHOT;
}

STEP forward6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? forward(skb, context, true) : TC_ACT_SHOT;
}

STEP deliver_remote4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? deliver_remote(skb, context, false) : TC_ACT_SHOT;
}

STEP deliver_remote6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? deliver_remote(skb, context, true) : TC_ACT_SHOT;
}

#endif
