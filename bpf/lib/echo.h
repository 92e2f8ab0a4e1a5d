/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Service addresses answer pings, as those do that other service proxies give to a device of the node: what it tells is that a node is there which
 * serves the address. */
#ifndef TANDEM_LIB_ECHO_H
#define TANDEM_LIB_ECHO_H

#include <tandem/maps.h>
#include "context.h"

/* Somebody of this scope asks a service's address for an echo. A node's own address is answered by its stack. */
static __always_inline bool asks_service(const struct packet *packet, __u32 scope, const bool v6)
{
	const struct service_address *known;

	if (!is_icmp(packet->protocol, v6) || packet->icmp_type != (v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO) ||
	    packet->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return false;
	known = bpf_map_lookup_elem(&service_address, &packet->destination);
	return known && known->scopes & (1 << scope) && !is_of_node(&packet->destination, v6);
}

/* The request becomes its answer. Addresses that change places change no checksum. */
static __always_inline __u32 answer_echo(struct __sk_buff *skb, struct packet *packet, const bool v6)
{
	const __be16 asked = bpf_htons((v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO) << 8 | packet->icmp_code);
	const __be16 answered = bpf_htons((v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY) << 8 | packet->icmp_code);
	const __u32 l3 = packet->l3;
	struct address asker = packet->source;
	__u8 ttl = 64;

	packet->source = packet->destination;
	packet->destination = asker;
	/* icmp6hdr has its checksum at the same place */
	if (bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct icmphdr, checksum), asked, answered, 2) ||
	    bpf_skb_store_bytes(skb, packet->l4, &answered, sizeof(answered), 0))
		return REASON_NAT_FAILED;
	if (v6) {
		if (bpf_skb_store_bytes(skb, l3 + offsetof(struct ipv6hdr, saddr), packet->source.bytes, 16, 0) ||
		    bpf_skb_store_bytes(skb, l3 + offsetof(struct ipv6hdr, daddr), packet->destination.bytes, 16, 0) ||
		    bpf_skb_store_bytes(skb, l3 + offsetof(struct ipv6hdr, hop_limit), &ttl, 1, BPF_F_RECOMPUTE_CSUM))
			return REASON_NAT_FAILED;
	} else {
		const __be16 hops = bpf_htons(packet->ttl << 8 | packet->protocol), fresh = bpf_htons(ttl << 8 | packet->protocol);

		if (bpf_l3_csum_replace(skb, l3 + offsetof(struct iphdr, check), hops, fresh, 2) ||
		    bpf_skb_store_bytes(skb, l3 + offsetof(struct iphdr, ttl), &ttl, 1, 0) ||
		    bpf_skb_store_bytes(skb, l3 + offsetof(struct iphdr, saddr), ipv4_of(&packet->source), 4, 0) ||
		    bpf_skb_store_bytes(skb, l3 + offsetof(struct iphdr, daddr), ipv4_of(&packet->destination), 4, 0))
			return REASON_NAT_FAILED;
	}
	packet->icmp_type = v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;
	packet->ttl = ttl;
	return 0;
}

STEP answer_echo4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = answer_echo(skb, &context->packet, false);
	return 0;
}

STEP answer_echo6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = answer_echo(skb, &context->packet, true);
	return 0;
}

/* True: it was such a request, and is its answer now, or context->reason says why not. */
static __always_inline bool answers_echo(struct __sk_buff *skb, const struct context *context, __u32 scope, const bool v6)
{
	if (!asks_service(&context->packet, scope, v6))
		return false;
	if (v6)
		answer_echo6(skb);
	else
		answer_echo4(skb);
	return true;
}

/* The answer to the node's own stack comes in by the device that the request was about to leave by: there is the route to the service's address, so a
 * strict rp_filter takes it. Nobody else is asked, since what leaves for that address may come back to any node, from the node's own address. */
static __always_inline int echo_to_stack(struct __sk_buff *skb, __u32 l3)
{
	__u8 macs[12], turned[12];

	if (l3 == ETH_LENGTH) {
		if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
			return TC_ACT_SHOT;
		__builtin_memcpy(turned, macs + 6, 6);
		__builtin_memcpy(turned + 6, macs, 6);
		if (bpf_skb_store_bytes(skb, 0, turned, sizeof(turned), 0))
			return TC_ACT_SHOT;
	}
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

#endif
