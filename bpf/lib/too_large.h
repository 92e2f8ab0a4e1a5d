/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What fits to this node but not on the way to the backend (or back to the client) has a sender who must know: the stack, which would tell him, is
 * not asked about packets of other names than their own. So he is told here, about the packet that he sent, by the address that he sent it to. */
#ifndef TANDEM_LIB_TOO_LARGE_H
#define TANDEM_LIB_TOO_LARGE_H

#include "checksum.h"
#include "context.h"
#include "dsr.h"
#include "nat.h"
#include "renaming.h"

/* Bytes of the packet that are quoted: what one bpf_csum_diff takes. All its headers, and within what RFC 1812 4.3.2.3 (576 bytes) and RFC 4443 2.4
 * (1280) allow. A shorter packet that is too large is not answered: no way that takes less is known to us. */
#define QUOTE 512

struct error4 {
	struct iphdr ip;
	struct icmphdr icmp;
};

struct error6 {
	struct ipv6hdr ip;
	struct icmp6hdr icmp;
};

/* The sum of the quote as it will be on the wire. A checksum that waits for a device (packets that were merged when they came in, or are of a VM)
 * is filled in over what is left of the packet, on its way out: then all from the L4 header on has the sum ~pseudo. Such a packet is known by
 * its field; one in 65,536 others has the same there, and its sender is told by his next one. */
static __always_inline __u32 quote_sum(struct __sk_buff *skb, const struct packet *packet, const bool v6)
{
	const int field = l4_checksum_offset(packet->protocol);
	__u16 pseudo = pseudo_sum(packet, v6);
	__be16 *check;
	void *quote;

	if (field >= 0 && packet->l4_header && !(packet->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))) {
		check = at(skb, packet->l4 + field, sizeof(*check));
		if (check && *check == pseudo && !v6) /* the header's own sum is none */
			return (__u16)~pseudo;
		if (check && *check == pseudo && packet->l4 - packet->l3 == sizeof(struct ipv6hdr)) {
			quote = at(skb, packet->l3, sizeof(struct ipv6hdr));
			return quote ? bpf_csum_diff(NULL, 0, quote, sizeof(struct ipv6hdr), (__u16)~pseudo) : 0;
		}
	}
	quote = at(skb, packet->l3, QUOTE);
	return quote ? bpf_csum_diff(NULL, 0, quote, QUOTE, 0) : 0;
}

static __always_inline __u32 quote_in4(struct __sk_buff *skb, const struct packet *packet, __u32 mtu, __u32 sum)
{
	struct error4 error = {
		.ip = {.version = 4, .ihl = 5, .tos = 0xc0, .ttl = 64, .protocol = IPPROTO_ICMP, .frag_off = bpf_htons(0x4000)},
		.icmp = {.type = ICMP_DEST_UNREACH, .code = ICMP_FRAG_NEEDED},
	};

	error.ip.tot_len = bpf_htons(sizeof(error) + QUOTE);
	error.ip.saddr = *ipv4_of((struct address *)&packet->destination);
	error.ip.daddr = *ipv4_of((struct address *)&packet->source);
	error.ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&error.ip, sizeof(error.ip), 0));
	error.icmp.un.frag.mtu = bpf_htons(mtu);
	error.icmp.checksum = fold(bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, sizeof(error.icmp), sum));
	return bpf_skb_adjust_room(skb, sizeof(error), BPF_ADJ_ROOM_MAC, 0) ||
	       bpf_skb_store_bytes(skb, packet->l3, &error, sizeof(error), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline __u32 quote_in6(struct __sk_buff *skb, const struct packet *packet, __u32 mtu, __u32 sum)
{
	struct error6 error = {
		.ip = {.version = 6, .hop_limit = 64, .nexthdr = IPPROTO_ICMPV6},
		.icmp = {.icmp6_type = ICMPV6_PKT_TOOBIG},
	};
	const __u32 length = sizeof(error.icmp) + QUOTE;
	__be32 parts[2] = {bpf_htonl(length), bpf_htonl(IPPROTO_ICMPV6)};

	error.ip.payload_len = bpf_htons(length);
	copy_address((struct address *)&error.ip.saddr, packet->destination.bytes);
	copy_address((struct address *)&error.ip.daddr, packet->source.bytes);
	error.icmp.icmp6_mtu = bpf_htonl(mtu);
	sum = bpf_csum_diff(NULL, 0, parts, sizeof(parts), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&error.ip.saddr, 32, sum);
	error.icmp.icmp6_cksum = fold(bpf_csum_diff(NULL, 0, (__be32 *)&error.icmp, sizeof(error.icmp), sum));
	return bpf_skb_adjust_room(skb, sizeof(error), BPF_ADJ_ROOM_MAC, 0) ||
	       bpf_skb_store_bytes(skb, packet->l3, &error, sizeof(error), BPF_F_RECOMPUTE_CSUM);
}

/* The packet, which `forward` refused as too large, becomes what its sender is told. context->reason: he is not. */
static __always_inline void quote(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	struct address teller __attribute__((aligned(8)));
	__u32 mtu = context->mtu, sum;

	context->reason = REASON_TOO_LARGE;
	if (packet->flags & PACKET_ICMP_ERROR || context->wrapped || packet->l3_length < QUOTE || !mtu)
		return;
	if (!v6 && context->carries) { /* what it may be large is less than the way takes */
		mtu -= sizeof(struct dsr4_option);
		if (strip4(skb, packet))
			return;
	}
	context->renaming = context->arrived;
	take_name(skb, v6);
	if (context->reason)
		return;
	context->reason = REASON_NAT_FAILED;
	if (bpf_skb_change_tail(skb, packet->l3 + QUOTE, 0))
		return;
	sum = quote_sum(skb, packet, v6);
	if (v6 ? quote_in6(skb, packet, mtu, sum) : quote_in4(skb, packet, mtu, sum))
		return;
	teller = packet->destination;
	packet->destination = packet->source;
	packet->source = teller;
	packet->l3_length = QUOTE + (v6 ? sizeof(struct error6) : sizeof(struct error4));
	packet->protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	packet->flags = PACKET_ICMP_ERROR;
	packet->l4_header = 0;
	packet->ttl = 64;
	context->reason = 0;
}

STEP quote4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		quote(skb, context, false);
	return 0;
}

STEP quote6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		quote(skb, context, true);
	return 0;
}

#endif
