/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What two neighbours on a link say to each other to find each other. It never leaves the link, so policy has no part in it;
 * but a pod may speak only for itself. */
#ifndef TANDEM_LIB_LINK_LOCAL_H
#define TANDEM_LIB_LINK_LOCAL_H

#include <linux/if_arp.h>
#include "packet.h"

/* RFC 4861 7.1: neighbour discovery counts only with hop limit 255, so it was not routed. MLD (RFC 3810 5) has 1. */
static __always_inline bool is_link_local_signalling(const struct packet *packet)
{
	__u8 type = bpf_ntohs(packet->destination_port) >> 8;

	if (packet->protocol != IPPROTO_ICMPV6 || packet->source_port)
		return false;
	if (type >= 133 && type <= 137)
		return packet->ttl == 255;
	return (type == 143 || (type >= 130 && type <= 132)) && packet->ttl == 1;
}

static __always_inline bool is_link_local_or_unspecified(const struct address *address)
{
	const __u32 *words = (const __u32 *)address->bytes;

	return (address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80) ||
	       !(words[0] | words[1] | words[2] | words[3]);
}

/* RFC 826: the sender's protocol address, or none (RFC 5227 probe). */
static __always_inline bool arp_sender_is(struct __sk_buff *skb, __be32 ipv4)
{
	struct {
		struct arphdr header;
		__u8 sender_mac[6];
		__u8 sender_ip[4];
	} __attribute__((packed)) *arp = at(skb, ETH_LENGTH, sizeof(*arp));
	__be32 sender;

	if (!arp)
		return false;
	__builtin_memcpy(&sender, arp->sender_ip, 4);
	return !sender || sender == ipv4;
}

#endif
