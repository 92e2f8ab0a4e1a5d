/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packets as they lie in a driver's buffer (XDP): plain ones alone, of which every header has its place; and a new tuple for them. Everything else is
 * left to the programs behind. */
#ifndef TANDEM_LIB_WIRE_H
#define TANDEM_LIB_WIRE_H

#include "checksum.h"
#include "context.h"

/* What a packet without IPv4 options, fragments and extension headers begins with. */
struct wire4 {
	struct ethhdr eth;
	struct iphdr ip;
	union {
		struct tcphdr tcp;
		struct udphdr udp;
	};
} __attribute__((packed));

struct wire6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
	union {
		struct tcphdr tcp;
		struct udphdr udp;
	};
} __attribute__((packed));

/* Bytes in front of the L4 header's own size, which differs. */
#define WIRE4_L4 offsetof(struct wire4, tcp)
#define WIRE6_L4 offsetof(struct wire6, tcp)

/* What the checksum of both L4 protocols covers of a tuple. */
struct tuple4 {
	__be32 source, destination;
	__be16 source_port, destination_port;
};

struct tuple6 {
	struct address source, destination;
	__be16 source_port, destination_port;
};

static __always_inline bool read_l4(struct packet *packet, const struct tcphdr *tcp, const void *end)
{
	const struct udphdr *udp = (const struct udphdr *)tcp;
	__u32 header = sizeof(*udp);

	if ((const void *)(udp + 1) > end)
		return false;
	packet->source_port = udp->source;
	packet->destination_port = udp->dest;
	packet->tcp_flags = 0;
	if (packet->protocol == IPPROTO_TCP) {
		if ((const void *)(tcp + 1) > end || tcp->doff < 5)
			return false;
		packet->tcp_flags = ((const __u8 *)tcp)[13];
		header = tcp->doff * 4;
	} else if (packet->protocol != IPPROTO_UDP) {
		return false;
	}
	packet->l4_header = header;
	return packet->l4 - packet->l3 + header <= packet->l3_length;
}

/* The frame's packet; false: it is none of the plain ones. */
static __always_inline bool read_wire(void *data, void *end, struct packet *packet, const bool v6)
{
	packet->l3 = ETH_LENGTH;
	packet->flags = 0;
	if (v6) {
		struct wire6 *wire = data;

		if (data + WIRE6_L4 > end || wire->ip.version != 6)
			return false;
		copy_address(&packet->source, &wire->ip.saddr);
		copy_address(&packet->destination, &wire->ip.daddr);
		if (is_mapped(&packet->source) || is_mapped(&packet->destination))
			return false;
		packet->protocol = wire->ip.nexthdr;
		packet->ttl = wire->ip.hop_limit;
		packet->l3_length = bpf_ntohs(wire->ip.payload_len) + sizeof(wire->ip);
		packet->l4 = WIRE6_L4;
		if (packet->l3_length > end - data - ETH_LENGTH)
			return false;
		return read_l4(packet, &wire->tcp, end);
	} else {
		struct wire4 *wire = data;

		if (data + WIRE4_L4 > end || wire->ip.version != 4 || wire->ip.ihl != 5 || wire->ip.frag_off & bpf_htons(0x3fff))
			return false;
		set_ipv4(&packet->source, wire->ip.saddr);
		set_ipv4(&packet->destination, wire->ip.daddr);
		packet->protocol = wire->ip.protocol;
		packet->ttl = wire->ip.ttl;
		packet->l3_length = bpf_ntohs(wire->ip.tot_len);
		packet->l4 = WIRE4_L4;
		if (packet->l3_length > end - data - ETH_LENGTH)
			return false;
		return read_l4(packet, &wire->tcp, end);
	}
}

static __always_inline __be16 *checksum_of(struct tcphdr *tcp, __u8 protocol, const void *end)
{
	struct udphdr *udp = (struct udphdr *)tcp;

	if (protocol == IPPROTO_TCP)
		return (const void *)(tcp + 1) > end ? NULL : &tcp->check;
	return (const void *)(udp + 1) > end ? NULL : &udp->check;
}

/* A device is still to complete the checksum, as veths and some virtual machines' leave it: the stack alone knows of that. One complete checksum in
 * 65,536 looks like it, and goes the same way. */
static __always_inline bool is_pending(__be16 check, const struct packet *packet, const bool v6)
{
	return check == pseudo_sum(packet, v6);
}

static __always_inline void update(__be16 *check, const void *from, const void *to, __u32 length, __u8 protocol)
{
	__u16 sum;

	if (protocol == IPPROTO_UDP && !*check) /* the sender made none (RFC 768) */
		return;
	sum = fold(bpf_csum_diff((__be32 *)from, length, (__be32 *)to, length, (__u16)~*check));
	*check = protocol == IPPROTO_UDP && !sum ? 0xffff : sum;
}

/* The tuple of context->renaming, one hop less, and the neighbours of `fib`. False, and the frame is as it was: it is not for us. */
static __always_inline bool write_wire(void *data, void *end, const struct context *context, const struct bpf_fib_lookup *fib,
				       const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct renaming *to = &context->renaming;
	struct udphdr *ports;
	struct ethhdr *eth = data;
	__be16 *check;

	if (v6) {
		struct tuple6 old, new;
		struct wire6 *wire = data;

		if (data + WIRE6_L4 + sizeof(*ports) > end)
			return false;
		check = checksum_of(&wire->tcp, packet->protocol, end);
		if (!check || is_pending(*check, packet, true))
			return false;
		old.source = packet->source;
		old.destination = packet->destination;
		old.source_port = packet->source_port;
		old.destination_port = packet->destination_port;
		new.source = to->source;
		new.destination = to->destination;
		new.source_port = to->source_port;
		new.destination_port = to->destination_port;
		update(check, &old, &new, sizeof(old), packet->protocol);
		copy_address((struct address *)&wire->ip.saddr, to->source.bytes);
		copy_address((struct address *)&wire->ip.daddr, to->destination.bytes);
		wire->ip.hop_limit--;
		ports = &wire->udp;
	} else {
		struct tuple4 old = {.source_port = packet->source_port, .destination_port = packet->destination_port};
		struct tuple4 new = {.source_port = to->source_port, .destination_port = to->destination_port};
		struct wire4 *wire = data;
		__u32 header;

		if (data + WIRE4_L4 + sizeof(*ports) > end)
			return false;
		check = checksum_of(&wire->tcp, packet->protocol, end);
		if (!check || is_pending(*check, packet, false))
			return false;
		old.source = wire->ip.saddr;
		old.destination = wire->ip.daddr;
		new.source = *ipv4_of((struct address *)&to->source);
		new.destination = *ipv4_of((struct address *)&to->destination);
		update(check, &old, &new, sizeof(old), packet->protocol);
		wire->ip.check = fold(bpf_csum_diff((__be32 *)&old, 8, (__be32 *)&new, 8, (__u16)~wire->ip.check));
		/* RFC 1141: the word of TTL and protocol falls by 0x0100 */
		header = wire->ip.check + bpf_htons(0x0100);
		wire->ip.check = header + (header >= 0xffff);
		wire->ip.ttl--;
		wire->ip.saddr = new.source;
		wire->ip.daddr = new.destination;
		ports = &wire->udp;
	}
	ports->source = to->source_port;
	ports->dest = to->destination_port;
	__builtin_memcpy(eth->h_dest, fib->dmac, 6);
	__builtin_memcpy(eth->h_source, fib->smac, 6);
	return true;
}

#endif
