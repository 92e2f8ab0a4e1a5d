/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Rewrites an address and port in a packet, checksums kept right (RFC 1624), and in its `struct packet`. */
#ifndef TANDEM_LIB_NAT_H
#define TANDEM_LIB_NAT_H

#include "crc32c.h"
#include "packet.h"

static __always_inline int l4_checksum_offset(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	case IPPROTO_ICMPV6:
		return offsetof(struct icmp6hdr, icmp6_cksum);
	default: /* ICMP has no pseudo header; SCTP's CRC covers no address */
		return -1;
	}
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

enum nat_end { NAT_SOURCE, NAT_DESTINATION };

/* BPF_F_IPV6 (6.16 and stable kernels): IPv6 has no header checksum that would balance a changed address, so the checksum over
 * the whole packet that a device gave along (CHECKSUM_COMPLETE) changes too. Older kernels refuse the flag, and complain once
 * in the log about a wrong device. */
#define CSUM_IPV6 (1ULL << 7)

static __always_inline long replace_pseudo6(struct __sk_buff *skb, __u32 offset, __s64 difference, __u64 flags)
{
	long result = bpf_l4_csum_replace(skb, offset, 0, difference, flags | BPF_F_PSEUDO_HDR | CSUM_IPV6);

	return result == -22 /* EINVAL */ ? bpf_l4_csum_replace(skb, offset, 0, difference, flags | BPF_F_PSEUDO_HDR) : result;
}

/* The checksum of an SCTP packet one of whose ports changes, `offset` bytes from its header's first. False: it is one of fragments, over all of which it
 * goes, or too large to say how long it is. */
static __always_inline bool update_sctp(struct __sk_buff *skb, const struct packet *packet, __u32 offset, __be16 from, __be16 to)
{
	const __u32 field = packet->l4 + 8, length = packet->l3_length - (packet->l4 - packet->l3) - offset;
	__le32 crc;

	if (packet->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT) || !packet->l3_length ||
	    bpf_skb_load_bytes(skb, field, &crc, sizeof(crc)))
		return false;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	crc ^= __builtin_bswap32(crc32c_of_change(__builtin_bswap16(from ^ to), length));
#else
	crc ^= crc32c_of_change(from ^ to, length);
#endif
	return !bpf_skb_store_bytes(skb, field, &crc, sizeof(crc), 0);
}

/* port 0 leaves the port. */
static __always_inline __u32 rewrite(struct __sk_buff *skb, struct packet *packet, enum nat_end end,
				     const struct address *address, __be16 port, const bool v6)
{
	struct address *current = end == NAT_SOURCE ? &packet->source : &packet->destination;
	__be16 *current_port = end == NAT_SOURCE ? &packet->source_port : &packet->destination_port;
	int checksum = l4_checksum_offset(packet->protocol);
	__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	bool later = packet->flags & PACKET_LATER_FRAGMENT;
	bool new_port = has_ports(packet->protocol) && port && port != *current_port;
	__u32 field;

	if (new_port && packet->protocol == IPPROTO_SCTP &&
	    !update_sctp(skb, packet, end == NAT_SOURCE ? 0 : 2, *current_port, port))
		return REASON_NAT_FAILED;
	if (v6) {
		__s64 difference = bpf_csum_diff((__be32 *)current->bytes, 16, (__be32 *)address->bytes, 16, 0);

		if (checksum >= 0 && !later && replace_pseudo6(skb, packet->l4 + checksum, difference, flags))
			return REASON_NAT_FAILED;
		field = packet->l3 + (end == NAT_SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
		if (bpf_skb_store_bytes(skb, field, address->bytes, 16, 0))
			return REASON_NAT_FAILED;
	} else {
		__be32 from = *ipv4_of(current), to = *ipv4_of((struct address *)address);

		if (checksum >= 0 && !later &&
		    bpf_l4_csum_replace(skb, packet->l4 + checksum, from, to, BPF_F_PSEUDO_HDR | flags | 4))
			return REASON_NAT_FAILED;
		if (bpf_l3_csum_replace(skb, packet->l3 + offsetof(struct iphdr, check), from, to, 4))
			return REASON_NAT_FAILED;
		field = packet->l3 + (end == NAT_SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
		if (bpf_skb_store_bytes(skb, field, &to, 4, 0))
			return REASON_NAT_FAILED;
	}
	*current = *address;
	if (new_port) {
		field = packet->l4 + (end == NAT_SOURCE ? offsetof(struct udphdr, source) : offsetof(struct udphdr, dest));
		if (!later) {
			if (checksum >= 0 &&
			    bpf_l4_csum_replace(skb, packet->l4 + checksum, *current_port, port, flags | 2))
				return REASON_NAT_FAILED;
			if (bpf_skb_store_bytes(skb, field, &port, 2, 0))
				return REASON_NAT_FAILED;
		}
		*current_port = port;
	}
	return 0;
}

#endif
