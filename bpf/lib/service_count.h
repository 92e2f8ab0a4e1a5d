/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How much a service's address is used: flows that begin there. Packets and bytes are not counted, for most never pass here: at the socket a
 * connection is translated once. An entry comes with the first flow; the agent takes away those of addresses that are none any more. */
#ifndef TANDEM_LIB_SERVICE_COUNT_H
#define TANDEM_LIB_SERVICE_COUNT_H

#include <tandem/maps.h>

/* `vip`: IPv4 as ::ffff:a.b.c.d */
static __always_inline void count_flow(const struct address *vip, __be16 port, __u8 protocol, __u8 scope)
{
	struct service6_key key = {.port = port, .protocol = protocol, .scope = scope};
	struct service_flows fresh = {.begun = 1}, *flows;

	key.address = *vip;
	flows = bpf_map_lookup_elem(&service_flows, &key);
	if (flows)
		flows->begun++;
	else
		bpf_map_update_elem(&service_flows, &key, &fresh, BPF_ANY);
}

#endif
