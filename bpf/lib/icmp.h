/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors belong to the flow whose packet they carry (RFC 792, RFC 4443 2.4, RFC 5508): they follow its verdict. */
#ifndef TANDEM_LIB_ICMP_H
#define TANDEM_LIB_ICMP_H

#include "conntrack.h"
#include "nat.h"

/* Reads the packet inside of an error. Its L4 header may be cut to 8 bytes, so only ports or the ICMP identifier are read. */
static __always_inline bool parse_inner(struct __sk_buff *skb, const struct packet *outer, struct packet *inner, const bool v6)
{
	__u8 *l4;

	__builtin_memset(inner, 0, sizeof(*inner));
	inner->l3 = outer->l4 + 8;
	if (v6) {
		struct ipv6hdr *ip = at(skb, inner->l3, sizeof(*ip));

		if (!ip || ip->version != 6)
			return false;
		copy_address(&inner->source, &ip->saddr);
		copy_address(&inner->destination, &ip->daddr);
		inner->protocol = ip->nexthdr;
		inner->l4 = inner->l3 + sizeof(*ip);
		if (is_extension(inner->protocol) && walk_extensions(skb, inner))
			return false;
		if (inner->flags & PACKET_LATER_FRAGMENT || inner->l4 > OFFSET_MASK - 64)
			return false;
	} else {
		struct iphdr *ip = at(skb, inner->l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
			return false;
		set_ipv4(&inner->source, ip->saddr);
		set_ipv4(&inner->destination, ip->daddr);
		inner->protocol = ip->protocol;
		inner->l4 = inner->l3 + ip->ihl * 4;
	}
	if (!reaches(outer, inner->l4 + 8))
		return false;
	l4 = at(skb, inner->l4, 8);
	if (!l4)
		return false;
	if (has_ports(inner->protocol)) {
		__builtin_memcpy(&inner->source_port, l4, 2);
		__builtin_memcpy(&inner->destination_port, l4 + 2, 2);
	} else if (is_icmp(inner->protocol, v6)) {
		__be16 id;

		__builtin_memcpy(&id, l4 + 4, 2);
		if (is_icmp_error(l4[0], v6)) /* no error is sent about an error */
			return false;
		icmp_ports(inner, l4[0], l4[1], id, v6);
	}
	return true;
}

/* Changes an address (and port) of the packet inside. The error's own checksum covers that packet: in IPv4 a changed address is
 * balanced by the inner header checksum, in IPv6 it is not. The inner L4 checksum is left wrong, as it may be cut off. */
static __always_inline __u32 rewrite_inner(struct __sk_buff *skb, const struct packet *outer, struct packet *inner,
					   enum nat_end end, const struct address *address, __be16 port, const bool v6)
{
	struct address *current = end == NAT_SOURCE ? &inner->source : &inner->destination;
	__be16 old = end == NAT_SOURCE ? inner->source_port : inner->destination_port;
	__u32 checksum = outer->l4 + offsetof(struct icmphdr, checksum), field; /* icmp6hdr has it at the same place */

	if (v6) {
		__s64 difference = bpf_csum_diff((__be32 *)current->bytes, 16, (__be32 *)address->bytes, 16, 0);

		field = inner->l3 + (end == NAT_SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
		if (bpf_l4_csum_replace(skb, checksum, 0, difference, 0) ||
		    bpf_skb_store_bytes(skb, field, address->bytes, 16, 0))
			return REASON_NAT_FAILED;
	} else {
		__be32 from = *ipv4_of(current), to = *ipv4_of((struct address *)address);

		field = inner->l3 + (end == NAT_SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
		if (bpf_l3_csum_replace(skb, inner->l3 + offsetof(struct iphdr, check), from, to, 4) ||
		    bpf_skb_store_bytes(skb, field, &to, 4, 0))
			return REASON_NAT_FAILED;
	}
	*current = *address;
	if (has_ports(inner->protocol) && port && port != old) {
		field = inner->l4 + (end == NAT_SOURCE ? offsetof(struct udphdr, source) : offsetof(struct udphdr, dest));
		if (bpf_l4_csum_replace(skb, checksum, old, port, 2) || bpf_skb_store_bytes(skb, field, &port, 2, 0))
			return REASON_NAT_FAILED;
		if (end == NAT_SOURCE)
			inner->source_port = port;
		else
			inner->destination_port = port;
	}
	return 0;
}

/* The packet inside becomes the one that was renamed into it, or that it was renamed into: what answers to it leads to that tuple (context->renaming). */
static __always_inline __u32 rename_inside(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *outer = &context->packet, *inner = &context->inner;
	const struct renaming *to = &context->renaming;

	return rewrite_inner(skb, outer, inner, NAT_SOURCE, &to->destination, to->destination_port, v6) ||
	       rewrite_inner(skb, outer, inner, NAT_DESTINATION, &to->source, to->source_port, v6) ||
	       rewrite(skb, outer, NAT_DESTINATION, &to->destination, 0, v6);
}

STEP rename_inside4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? rename_inside(skb, context, false) : 1;
}

STEP rename_inside6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	return context ? rename_inside(skb, context, true) : 1;
}

/* False: it could not. */
static __always_inline bool rename_inner(struct __sk_buff *skb, const bool v6)
{
	return !(v6 ? rename_inside6(skb) : rename_inside4(skb));
}

/* The live flow (or a service's choice) of the packet inside; inner_low: that packet's source is the low end. */
static __always_inline struct ct_entry *inner_flow(struct context *context, __u32 *inner_low, const bool v6)
{
	struct ct_entry *entry;

	*inner_low = ct_key_of(&context->inner, &context->key, v6);
	entry = ct_find(&context->key, v6);
	if (entry && !(entry->flags & CT_SERVICE) && is_expired(entry, context->inner.protocol, context->now))
		return NULL;
	return entry;
}

/* The verdict that an end of the flow got is that of its present policy. */
static __always_inline bool is_current(const struct ct_entry *entry, bool initiator, const struct end *end)
{
	return !end->here || entry->flags & CT_LOOPBACK ||
	       (initiator ? entry->egress_revision : entry->ingress_revision) == end->policy_revision;
}

enum related { UNRELATED, RELATED, BROKEN };

/* RELATED if the error is about a live flow of which the error's receiver is the sender: it passes as that flow does, and for a translated
 * one it speaks of the addresses that its receiver knows. A pod (`source`) is no router: it may only complain about what was sent to it.
 * An error whose flow is to be judged again waits for the flow's next packet. */
static __always_inline __u32 relate(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct end *source = &context->source, *destination = &context->destination;
	struct packet *outer = &context->packet, *inner = &context->inner;
	struct renaming *to = &context->renaming;
	struct ct_entry *entry;
	struct address self __attribute__((aligned(8)));
	const bool outside = context->scope == SCOPE_OUTSIDE;
	__u32 inner_low;
	bool from_initiator;

	if (!parse_inner(skb, outer, inner, v6))
		return UNRELATED;
	if (!same_address(&inner->source, &outer->destination, v6))
		return UNRELATED;
	if (source->here && !same_address(&inner->destination, &outer->source, v6))
		return UNRELATED;
	entry = inner_flow(context, &inner_low, v6);
	if (!entry)
		return UNRELATED;
	if (outside && !(entry->flags & CT_SERVICE))
		return UNRELATED;
	if (entry->flags & CT_SERVICE) {
		/* a client, or a router on the way to one that is outside, complains about a reply, of which it knows the service's
		 * address; the flow is that with the backend */
		struct address backend __attribute__((aligned(8))) = entry->nat_address;
		__be16 port = entry->nat_port;

		if (!(source->here || outside) || is_initiator_source(entry, inner_low) || same_address(&backend, &outer->source, v6))
			return UNRELATED;
		if (entry->flags & CT_NAT) {
			nat_key_of_answer(&context->nat_key, inner, v6);
			if (!nat_find(&context->nat_key, to, v6) || !rename_inner(skb, v6))
				return BROKEN;
		} else if (rewrite_inner(skb, outer, inner, NAT_SOURCE, &backend, port, v6) ||
		    rewrite(skb, outer, NAT_DESTINATION, &backend, 0, v6))
			return BROKEN;
		if (outside && !endpoint_at(&outer->destination)) /* the backend's node answered directly, and knows the flow */
			return RELATED;
		entry = inner_flow(context, &inner_low, v6);
		if (!entry || !(entry->flags & CT_NAT) || is_initiator_source(entry, inner_low) ||
		    !is_current(entry, true, source))
			return BROKEN;
		if (outside) {
			const struct endpoint *pod = endpoint_at(&outer->destination);

			if (pod && entry->ingress_revision != pod->policy_revision)
				return BROKEN;
		}
		return RELATED;
	}
	context->tracked.flags = entry->flags & (CT_MASQUERADE | CT_PROXY);
	from_initiator = is_initiator_source(entry, inner_low);
	if (!is_current(entry, from_initiator, destination) || !is_current(entry, !from_initiator, source))
		return UNRELATED;
	if (!(entry->flags & CT_NAT) || !from_initiator)
		return RELATED;
	/* about a packet that a service had sent to this backend */
	if (!entry->nat_port) {
		nat_key_of_answer(&context->nat_key, inner, v6);
		if (!nat_find(&context->nat_key, to, v6) || !rename_inner(skb, v6))
			return BROKEN;
		return entry->flags & CT_LOOPBACK && rewrite(skb, outer, NAT_SOURCE, &entry->nat_address, 0, v6) ? BROKEN : RELATED;
	}
	if (entry->flags & CT_LOOPBACK) {
		self = inner->destination;
		if (rewrite_inner(skb, outer, inner, NAT_SOURCE, &self, 0, v6) ||
		    rewrite(skb, outer, NAT_DESTINATION, &self, 0, v6))
			return BROKEN;
	}
	if (rewrite_inner(skb, outer, inner, NAT_DESTINATION, &entry->nat_address, entry->nat_port, v6))
		return BROKEN;
	if (entry->flags & CT_LOOPBACK && rewrite(skb, outer, NAT_SOURCE, &entry->nat_address, 0, v6))
		return BROKEN;
	return RELATED;
}

STEP relate4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->related = relate(skb, context, false);
	return 0;
}

STEP relate6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->related = relate(skb, context, true);
	return 0;
}

/* An ICMP error that goes with its flow. False: it is judged as any other packet, or (context->reason) dropped. */
static __always_inline bool follows_flow(struct __sk_buff *skb, struct context *context, const struct endpoint *source,
					 const struct endpoint *destination, const bool v6)
{
	set_ends(context, source, destination);
	if (v6)
		relate6(skb);
	else
		relate4(skb);
	if (context->related == BROKEN)
		context->reason = REASON_NAT_FAILED;
	return context->related == RELATED;
}

#endif
