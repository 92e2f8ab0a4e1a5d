/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads a packet's headers, once, into a struct that outlives every helper that invalidates packet pointers. A packet is
 * never trusted: every length and extension header is bounded. */
#ifndef TANDEM_LIB_PACKET_H
#define TANDEM_LIB_PACKET_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <tandem/limits.h>
#include <tandem/reasons.h>
#include <tandem/types.h>

#define ETH_LENGTH 14
/* Offsets into a packet that the verifier must be able to bound. */
#define OFFSET_MASK 0x3ff

enum packet_flags {
	PACKET_FIRST_FRAGMENT = 1 << 0,
	PACKET_LATER_FRAGMENT = 1 << 1, /* no L4 header; ports come from the fragment map */
	PACKET_ICMP_ERROR = 1 << 2,
};

enum tcp_flag_bits { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct packet {
	struct address source __attribute__((aligned(8)));
	struct address destination __attribute__((aligned(8)));
	__be16 source_port;	 /* as the conntrack key wants it, see types.h for ICMP */
	__be16 destination_port;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 ttl;
	__u8 flags;	      /* enum packet_flags */
	__u32 l3;	      /* offset of the IP header: 14, or 0 on L3 devices */
	__u32 l4;	      /* offset behind all IP headers */
	__u32 l3_length;      /* bytes from the IP header on; 0 where the header cannot say (BIG TCP) */
	__be32 fragment_id;
	__u8 icmp_type; /* of ICMP and ICMPv6 */
	__u8 icmp_code;
	__u8 l4_header; /* bytes; 0 unless TCP or UDP */
	__u8 pad;
};

/* What an L7 proxy can be between. */
static __always_inline bool has_proxy(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static __always_inline __be32 *ipv4_of(struct address *address)
{
	return (__be32 *)&address->bytes[12];
}

static __always_inline void set_ipv4(struct address *address, __be32 ipv4)
{
	__be32 *words = (__be32 *)address->bytes;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = ipv4;
}

static __always_inline void copy_address(struct address *to, const void *from)
{
	__builtin_memcpy(to->bytes, from, sizeof(to->bytes));
}

static __always_inline bool same_address(const struct address *a, const struct address *b, const bool v6)
{
	const __u32 *x = (const __u32 *)a->bytes, *y = (const __u32 *)b->bytes;

	if (!v6)
		return x[3] == y[3];
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* By words: their alignment is not known to the compiler, and it would go byte by byte. */
static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b && *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(const __u32 *)from;
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

/* `length` bytes at `offset` for direct access, pulled into the linear part if need be; NULL beyond the packet's end. */
static __always_inline void *at(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	/* in assembly, so that the compiler cannot prove it needless: the verifier does not know what the compiler knows */
	asm volatile("%0 &= %1" : "+r"(offset) : "i"(OFFSET_MASK));
	if (data + offset + length <= end)
		return data + offset;
	if (bpf_skb_pull_data(skb, offset + length))
		return NULL;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + offset + length > end)
		return NULL;
	return data + offset;
}

/* Whether the packet goes as far as this offset by what its IP header tells. What a link appends (short Ethernet frames) is no
 * part of it, and the receiver cuts it off: headers in there would be ours alone. */
static __always_inline bool reaches(const struct packet *packet, __u32 offset)
{
	return !packet->l3_length || offset <= packet->l3 + packet->l3_length;
}

static __always_inline bool is_icmp(__u8 protocol, const bool v6)
{
	return protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* Errors carry the packet that they are about (RFC 792, RFC 4443). */
static __always_inline bool is_icmp_error(__u8 type, const bool v6)
{
	if (v6)
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

static __always_inline void icmp_ports(struct packet *packet, __u8 type, __u8 code, __be16 id, const bool v6)
{
	const __u8 request = v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO, reply = v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;

	packet->icmp_type = type;
	packet->icmp_code = code;
	if (type == request) {
		packet->source_port = id;
		packet->destination_port = bpf_htons(request << 8);
	} else if (type == reply) {
		packet->source_port = bpf_htons(request << 8);
		packet->destination_port = id;
	} else {
		packet->source_port = 0;
		packet->destination_port = bpf_htons(type << 8 | code);
	}
}

static __always_inline __u32 parse_l4(struct __sk_buff *skb, struct packet *packet, const bool v6)
{
	if (packet->flags & PACKET_LATER_FRAGMENT)
		return 0;
	if (packet->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(skb, packet->l4, sizeof(*tcp));

		if (!tcp || tcp->doff < 5 || !reaches(packet, packet->l4 + tcp->doff * 4))
			return REASON_MALFORMED;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->tcp_flags = ((__u8 *)tcp)[13];
		packet->l4_header = tcp->doff * 4;
	} else if (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP) {
		/* both begin with the ports and are at least 8 bytes long */
		struct udphdr *udp = at(skb, packet->l4, sizeof(*udp));

		if (!udp || !reaches(packet, packet->l4 + sizeof(*udp)))
			return REASON_MALFORMED;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		packet->l4_header = sizeof(*udp);
	} else if (is_icmp(packet->protocol, v6)) {
		struct icmphdr *icmp = at(skb, packet->l4, sizeof(*icmp)); /* icmp6hdr has the same first 8 bytes */

		if (!icmp || !reaches(packet, packet->l4 + sizeof(*icmp)))
			return REASON_MALFORMED;
		icmp_ports(packet, icmp->type, icmp->code, icmp->un.echo.id, v6);
		if (is_icmp_error(icmp->type, v6))
			packet->flags |= PACKET_ICMP_ERROR;
	}
	return 0;
}

static __always_inline __u32 parse_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr *ip = at(skb, packet->l3, sizeof(*ip));
	__u32 header, total, offset;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return REASON_MALFORMED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	/* only what is still to be cut into segments may be too long for the field (BIG TCP) */
	if (total < header ? total || !skb->gso_size : total > skb->len - packet->l3)
		return REASON_MALFORMED;
	set_ipv4(&packet->source, ip->saddr);
	set_ipv4(&packet->destination, ip->daddr);
	packet->protocol = ip->protocol;
	packet->ttl = ip->ttl;
	packet->l3_length = total;
	packet->l4 = packet->l3 + header;
	offset = bpf_ntohs(ip->frag_off);
	packet->fragment_id = ip->id;
	if (offset & 0x1fff)
		packet->flags |= PACKET_LATER_FRAGMENT;
	else if (offset & 0x2000)
		packet->flags |= PACKET_FIRST_FRAGMENT;
	return parse_l4(skb, packet, false);
}

static __always_inline bool is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS || next == IPPROTO_AH ||
	       next == IPPROTO_FRAGMENT;
}

/* Walks from packet->l4, where a header of kind packet->protocol stands, to the one behind all extension headers (RFC 8200
 * section 4). Of a later fragment it is the header that the fragmentable part begins with. */
static __noinline __u32 walk_extensions(struct __sk_buff *skb, struct packet *packet)
{
	__u8 next = packet->protocol;

#pragma unroll
	for (int i = 0; i < LIMIT_EXTENSION_HEADERS; i++) {
		__u8 extension[8];

		if (!is_extension(next))
			break;
		if (packet->l4 > OFFSET_MASK - 64)
			return REASON_EXTENSION_HEADERS;
		if (!reaches(packet, packet->l4 + sizeof(extension)) ||
		    bpf_skb_load_bytes(skb, packet->l4, extension, sizeof(extension)))
			return REASON_MALFORMED;
		if (next == IPPROTO_FRAGMENT) {
			/* one is all that a sender makes; a second one would hide the ports from us */
			if (packet->flags & PACKET_FIRST_FRAGMENT)
				return REASON_EXTENSION_HEADERS;
			__builtin_memcpy(&packet->fragment_id, extension + 4, 4);
			packet->l4 += 8;
			next = extension[0];
			if (extension[2] || extension[3] & 0xf8) {
				packet->flags |= PACKET_LATER_FRAGMENT;
				packet->protocol = next;
				return 0;
			}
			if (extension[3] & 1)
				packet->flags |= PACKET_FIRST_FRAGMENT;
			continue;
		}
		packet->l4 += next == IPPROTO_AH ? (extension[1] + 2) * 4 : (extension[1] + 1) * 8;
		next = extension[0];
	}
	packet->protocol = next;
	if (is_extension(next) || packet->l4 > OFFSET_MASK - 64)
		return REASON_EXTENSION_HEADERS;
	return 0;
}

/* ::ffff:a.b.c.d is how our maps write IPv4 addresses; nobody has it on the wire (RFC 4291 2.5.5.2). */
static __always_inline bool is_mapped(const struct address *address)
{
	const __u64 *halves = (const __u64 *)address->bytes;

	return !halves[0] && ((const __u32 *)address->bytes)[2] == bpf_htonl(0xffff);
}

static __always_inline __u32 parse_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr *ip = at(skb, packet->l3, sizeof(*ip));
	__u32 payload, reason;

	if (!ip || ip->version != 6)
		return REASON_MALFORMED;
	payload = bpf_ntohs(ip->payload_len);
	if (payload + sizeof(*ip) > skb->len - packet->l3)
		return REASON_MALFORMED;
	copy_address(&packet->source, &ip->saddr);
	copy_address(&packet->destination, &ip->daddr);
	if (is_mapped(&packet->source) || is_mapped(&packet->destination))
		return REASON_MALFORMED;
	packet->ttl = ip->hop_limit;
	/* no payload at all, or one that is still to be cut into segments (BIG TCP); jumbograms (RFC 2675) go no further */
	packet->l3_length = payload || !skb->gso_size ? payload + sizeof(*ip) : 0;
	packet->l4 = packet->l3 + sizeof(*ip);
	packet->protocol = ip->nexthdr;
	if (is_extension(packet->protocol)) {
		reason = walk_extensions(skb, packet);
		if (reason)
			return reason;
	}
	return parse_l4(skb, packet, true);
}

#endif
