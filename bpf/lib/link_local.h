/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What two neighbours on a link say to each other to find each other. It never leaves the link, so policy has no part in it;
 * but a pod may speak only for itself. */
#ifndef TANDEM_LIB_LINK_LOCAL_H
#define TANDEM_LIB_LINK_LOCAL_H

#include <linux/if_arp.h>
#include "context.h"

enum link_local_type { /* RFC 4861 4, RFC 2710 3, RFC 3810 5 */
	MLD_QUERY = 130,
	MLD_REPORT = 131,
	MLD_DONE = 132,
	ROUTER_SOLICITATION = 133,
	ROUTER_ADVERTISEMENT = 134,
	NEIGHBOUR_SOLICITATION = 135,
	NEIGHBOUR_ADVERTISEMENT = 136,
	REDIRECT = 137,
	MLD2_REPORT = 143,
};

/* RFC 4861 7.1: neighbour discovery counts only with hop limit 255, so it was not routed. MLD (RFC 3810 5) has 1. */
static __always_inline bool is_link_local_signalling(const struct packet *packet)
{
	__u8 type = packet->icmp_type;

	if (packet->protocol != IPPROTO_ICMPV6 || packet->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return false;
	if (type >= ROUTER_SOLICITATION && type <= REDIRECT)
		return packet->ttl == 255;
	return (type == MLD2_REPORT || (type >= MLD_QUERY && type <= MLD_DONE)) && packet->ttl == 1;
}

static __always_inline bool is_link_local(const struct address *address)
{
	return address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80;
}

static __always_inline bool is_unspecified(const struct address *address)
{
	const __u64 *halves = (const __u64 *)address->bytes;

	return !(halves[0] | halves[1]);
}

/* What a pod says there must be a host's part (a router's advertisement or redirect would change the node's routes, as its
 * accept_ra may allow), and about its own addresses. */
static __noinline __u32 is_honest_signalling(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *pod)
{
	const bool own = same_address(&packet->source, &pod->ipv6, true) && !is_unspecified(&pod->ipv6);
	struct address target __attribute__((aligned(8)));

	if (!own && !is_link_local(&packet->source) && !is_unspecified(&packet->source))
		return false;
	switch (packet->icmp_type) {
	case MLD_REPORT:
	case MLD_DONE:
	case MLD2_REPORT:
	case ROUTER_SOLICITATION:
	case NEIGHBOUR_SOLICITATION:
		return true;
	case NEIGHBOUR_ADVERTISEMENT:
		if (!reaches(packet, packet->l4 + 24) || bpf_skb_load_bytes(skb, packet->l4 + 8, &target, sizeof(target)))
			return false;
		return same_address(&target, &pod->ipv6, true) || is_link_local(&target);
	default:
		return false;
	}
}

/* RFC 826 over Ethernet and IPv4. 0 if the sender's addresses are the pod's (or none: RFC 5227 probe), else why not. */
static __noinline __u32 judge_arp(struct __sk_buff *skb, const struct endpoint *pod)
{
	struct {
		struct arphdr header;
		__u8 sender_mac[6];
		__u8 sender_ip[4];
		__u8 target_mac[6];
		__u8 target_ip[4];
	} __attribute__((packed)) *arp = at(skb, ETH_LENGTH, sizeof(*arp));
	__be32 sender;

	if (!arp || arp->header.ar_hrd != bpf_htons(ARPHRD_ETHER) || arp->header.ar_pro != bpf_htons(ETH_P_IP) ||
	    arp->header.ar_hln != 6 || arp->header.ar_pln != 4)
		return REASON_MALFORMED;
	if (!same_mac(arp->sender_mac, pod->pod_mac))
		return REASON_SPOOFED_MAC;
	__builtin_memcpy(&sender, arp->sender_ip, 4);
	return sender && sender != pod->ipv4 ? REASON_SPOOFED_ADDRESS : 0;
}

#endif
