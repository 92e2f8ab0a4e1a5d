/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Direct server return through routers that drop options, or sources that do not come their way: on their way to the backend's node all packets
 * of such a flow lie in packets of this node's own (RFC 2003, RFC 2473). They are sent to the backend's address, not its node's: routes
 * lead there, whoever has it, and the node that has it takes them out. What a flow begins with carries the service inside, as in dsr.h. */
#ifndef TANDEM_LIB_DSR_TUNNEL_H
#define TANDEM_LIB_DSR_TUNNEL_H

#include "deliver.h"
#include "dsr.h"
#include "renaming.h"

static __always_inline __u32 outer_length(const bool v6)
{
	return v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

static __always_inline __u32 put_outer4(struct __sk_buff *skb, const struct context *context)
{
	const struct packet *packet = &context->packet;
	struct iphdr outer = {.version = 4, .ihl = 5, .frag_off = bpf_htons(0x4000), .ttl = 64, .protocol = IPPROTO_IPIP};
	struct iphdr *inner = at(skb, packet->l3, sizeof(*inner));

	if (!inner)
		return REASON_NAT_FAILED;
	outer.tos = inner->tos;
	outer.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + sizeof(outer));
	outer.saddr = *ipv4_of((struct address *)&context->renaming.source);
	outer.daddr = *ipv4_of((struct address *)&packet->destination);
	outer.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&outer, sizeof(outer), 0));
	return bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) ||
			       bpf_skb_store_bytes(skb, packet->l3, &outer, sizeof(outer), BPF_F_RECOMPUTE_CSUM)
		       ? REASON_NAT_FAILED
		       : 0;
}

static __always_inline __u32 put_outer6(struct __sk_buff *skb, const struct context *context)
{
	const struct packet *packet = &context->packet;
	struct ipv6hdr outer, *inner = at(skb, packet->l3, sizeof(*inner));

	if (!inner)
		return REASON_NAT_FAILED;
	outer = *inner; /* traffic class and flow label, RFC 2473 6.4 */
	outer.nexthdr = IPPROTO_IPV6;
	outer.hop_limit = 64;
	outer.payload_len = bpf_htons(bpf_ntohs(inner->payload_len) + sizeof(outer));
	copy_address((struct address *)&outer.saddr, context->renaming.source.bytes);
	copy_address((struct address *)&outer.daddr, packet->destination.bytes);
	return bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO) ||
			       bpf_skb_store_bytes(skb, packet->l3, &outer, sizeof(outer), BPF_F_RECOMPUTE_CSUM)
		       ? REASON_NAT_FAILED
		       : 0;
}

/* The packet, which has its backend, gets another one around it. What would be too large is found out before anything is done to it. */
static __always_inline void wrap(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	const __u32 length = sent_length(skb, packet), asked = length ? length + outer_length(v6) : 0;
	struct bpf_fib_lookup fib = {.family = v6 ? FAMILY_IPV6 : FAMILY_IPV4, .ifindex = skb->ifindex, .tot_len = asked};
	long result;

	if (v6)
		__builtin_memcpy(fib.ipv6_dst, packet->destination.bytes, 16);
	else
		fib.ipv4_dst = *ipv4_of(&packet->destination);
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		context->reason = REASON_TOO_LARGE;
		context->mtu = mtu_of(&fib, asked);
		context->mtu -= context->mtu > outer_length(v6) ? outer_length(v6) : context->mtu;
		return;
	}
	context->reason = REASON_NO_ROUTE;
	if (!is_routed(result) || !take_address_of(&context->renaming, fib.ifindex, v6) || !decrement_ttl(skb, packet, v6))
		return;
	context->reason = v6 ? put_outer6(skb, context) : put_outer4(skb, context);
	context->wrapped = 1;
	packet->source = context->renaming.source;
	packet->l4 += outer_length(v6);
	packet->l3_length += packet->l3_length ? outer_length(v6) : 0;
	packet->ttl = 64;
}

STEP wrap4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		wrap(skb, context, false);
	return 0;
}

STEP wrap6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		wrap(skb, context, true);
	return 0;
}

/* A packet of another node's own that has one inside for the same pod, which becomes the packet. It says nothing of its sender: what is inside
 * might have come as it is, and is treated like that. */
static __always_inline __u32 unwrap(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	const struct ipcache_value *sender = known_at(&packet->source, v6);
	const __u32 l3 = packet->l3;
	struct address to __attribute__((aligned(8))) = {};

	if (!sender || (sender->flags & (IPCACHE_NODE | IPCACHE_LOCAL_NODE)) != IPCACHE_NODE ||
	    packet->l4 - l3 != outer_length(v6))
		return 0;
	if (v6 ? bpf_skb_load_bytes(skb, packet->l4 + offsetof(struct ipv6hdr, daddr), to.bytes, 16)
	       : bpf_skb_load_bytes(skb, packet->l4 + offsetof(struct iphdr, daddr), ipv4_of(&to), 4))
		return REASON_MALFORMED;
	if (!same_address(&to, &packet->destination, v6))
		return 0;
	if (bpf_skb_adjust_room(skb, -(__s32)outer_length(v6), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return REASON_NAT_FAILED;
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->l3 = l3;
	return v6 ? parse_ipv6(skb, packet) : parse_ipv4(skb, packet);
}

STEP unwrap4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = unwrap(skb, context, false);
	return 0;
}

STEP unwrap6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = unwrap(skb, context, true);
	return 0;
}

/* What is for a pod of this node, once it has arrived there. */
static __always_inline void unwrap_packet(struct __sk_buff *skb, const struct packet *packet, const bool v6)
{
	if (packet->protocol != (v6 ? IPPROTO_IPV6 : IPPROTO_IPIP) || packet->flags)
		return;
	if (v6)
		unwrap6(skb);
	else
		unwrap4(skb);
}

#endif
