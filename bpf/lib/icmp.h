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
	} else {
		struct iphdr *ip = at(skb, inner->l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
			return false;
		set_ipv4(&inner->source, ip->saddr);
		set_ipv4(&inner->destination, ip->daddr);
		inner->protocol = ip->protocol;
		inner->l4 = inner->l3 + ip->ihl * 4;
	}
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

/* True if the error is about a live flow of which the error's receiver is the sender: it passes as that flow does. For a
 * flow that was translated, the inner destination is turned back into the service address, so that the client knows it. */
static __always_inline bool is_related(struct __sk_buff *skb, struct packet *packet, const bool v6)
{
	struct packet inner;
	struct ct_entry *entry;
	union ct_key key;
	bool source_low;

	if (!parse_inner(skb, packet, &inner, v6))
		return false;
	/* the packet inside was sent by the one who now gets the error */
	if (!same_address(&inner.source, &packet->destination, v6))
		return false;
	source_low = ct_key_of(&inner, &key, v6);
	entry = ct_find(&key, v6);
	if (!entry || entry->flags & CT_SERVICE ||
	    now_seconds() - entry->last_used > ct_timeout(entry, inner.protocol))
		return false;
	if (entry->flags & CT_NAT && !(entry->flags & CT_LOOPBACK) && !v6 &&
	    source_low == !!(entry->flags & CT_INITIATOR_LOW)) {
		/* The error's own checksum covers the packet inside: addresses and ports change it by their difference; a change
		 * of the inner IPv4 header checksum cancels that of the inner address, so only the port is left. */
		__be32 from = *ipv4_of(&inner.destination), to = *ipv4_of(&entry->nat_address);
		__be16 port = entry->nat_port, old = inner.destination_port;
		bool ports = has_ports(inner.protocol) && port;

		bpf_l3_csum_replace(skb, inner.l3 + offsetof(struct iphdr, check), from, to, 4);
		bpf_skb_store_bytes(skb, inner.l3 + offsetof(struct iphdr, daddr), &to, 4, 0);
		if (ports) {
			bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct icmphdr, checksum), old, port, 2);
			bpf_skb_store_bytes(skb, inner.l4 + offsetof(struct udphdr, dest), &port, 2, 0);
		}
	}
	return true;
}

static __noinline __u32 is_related4(struct __sk_buff *skb, struct packet *packet)
{
	return is_related(skb, packet, false);
}

static __noinline __u32 is_related6(struct __sk_buff *skb, struct packet *packet)
{
	return is_related(skb, packet, true);
}

#endif
