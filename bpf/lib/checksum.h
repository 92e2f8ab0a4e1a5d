/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The Internet checksum (RFC 1071, RFC 1624) where no helper keeps it right. */
#ifndef TANDEM_LIB_CHECKSUM_H
#define TANDEM_LIB_CHECKSUM_H

#include "packet.h"

static __always_inline __u16 fold_up(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u16 fold(__u32 sum)
{
	return ~fold_up(sum);
}

/* The words of a pseudo header (RFC 9293 3.1, RFC 8200 8.1); their order does not matter. */
struct pseudo4 {
	__be32 source, destination, length, protocol;
};

struct pseudo6 {
	struct address source, destination;
	__be32 length, protocol;
};

/* Sum of the pseudo header: what stands in the checksum's field while a device is still to complete it (CHECKSUM_PARTIAL). */
static __always_inline __u16 pseudo_sum(const struct packet *packet, const bool v6)
{
	const __be32 length = bpf_htonl(packet->l3_length - (packet->l4 - packet->l3));

	if (v6) {
		struct pseudo6 header = {.length = length, .protocol = bpf_htonl(packet->protocol)};

		header.source = packet->source;
		header.destination = packet->destination;
		return fold_up(bpf_csum_diff(NULL, 0, (__be32 *)&header, sizeof(header), 0));
	} else {
		struct pseudo4 header = {.length = length, .protocol = bpf_htonl(packet->protocol)};

		header.source = *ipv4_of((struct address *)&packet->source);
		header.destination = *ipv4_of((struct address *)&packet->destination);
		return fold_up(bpf_csum_diff(NULL, 0, (__be32 *)&header, sizeof(header), 0));
	}
}

#endif
