/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Only the first fragment of a datagram has ports; the others borrow them (RFC 791, RFC 8200 4.5). One that comes before
 * the first is dropped: without ports there is no verdict. */
#ifndef TANDEM_LIB_FRAGMENT_H
#define TANDEM_LIB_FRAGMENT_H

#include <tandem/maps.h>
#include "context.h"

STEP borrow_ports(struct __sk_buff *skb)
{
	struct context *context = current_context();
	struct fragment_key key = {};
	struct fragment_ports *known, ports;
	struct packet *packet;

	asm volatile("" ::"r"(skb)); /* or the compiler saves callers the trouble to pass what the kernel wants to see passed */
	if (!context)
		return 0;
	packet = &context->packet;
	key.id = packet->fragment_id;
	key.protocol = packet->protocol;
	key.source = packet->source;
	key.destination = packet->destination;
	if (packet->flags & PACKET_FIRST_FRAGMENT) {
		ports.source = packet->source_port;
		ports.destination = packet->destination_port;
		bpf_map_update_elem(&fragment, &key, &ports, BPF_ANY);
		return 0;
	}
	known = bpf_map_lookup_elem(&fragment, &key);
	if (!known) {
		context->reason = REASON_FRAGMENT;
		return 0;
	}
	packet->source_port = known->source;
	packet->destination_port = known->destination;
	return 0;
}

static __always_inline void resolve_fragment(struct __sk_buff *skb, const struct context *context)
{
	if (context->packet.flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		borrow_ports(skb);
}

#endif
