/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Only the first fragment of a datagram has ports; the others borrow them (RFC 791, RFC 8200 4.5). One that comes before
 * the first is dropped: without ports there is no verdict. */
#ifndef TANDEM_LIB_FRAGMENT_H
#define TANDEM_LIB_FRAGMENT_H

#include <tandem/maps.h>
#include "packet.h"

static __noinline __u32 resolve_fragment(struct packet *packet)
{
	struct fragment_key key = {.id = packet->fragment_id, .protocol = packet->protocol};
	struct fragment_ports *known, ports;

	if (!(packet->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT)))
		return 0;
	key.source = packet->source;
	key.destination = packet->destination;
	if (packet->flags & PACKET_FIRST_FRAGMENT) {
		ports.source = packet->source_port;
		ports.destination = packet->destination_port;
		bpf_map_update_elem(&fragment, &key, &ports, BPF_ANY);
		return 0;
	}
	known = bpf_map_lookup_elem(&fragment, &key);
	if (!known)
		return REASON_FRAGMENT;
	packet->source_port = known->source;
	packet->destination_port = known->destination;
	return 0;
}

#endif
