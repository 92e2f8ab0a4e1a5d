/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node itself as an end of flows, while a policy of nodes selects it: what comes to one of its addresses and what its own stack
 * sends is judged like a pod's. What it forwards is not its own. Loopback is never seen here. */
#ifndef TANDEM_LIB_HOST_H
#define TANDEM_LIB_HOST_H

#include "context.h"
#include "link_local.h"

/* NULL: the node has no policy, and all that follows costs nothing. */
static __always_inline struct endpoint *host_with_policy(void)
{
	__u32 zero = 0;
	struct endpoint *host = bpf_map_lookup_elem(&host_endpoint, &zero);

	return host && host->flags ? host : NULL;
}

/* Unicast to this node. Its link-local addresses are in no map: what comes to one is for a neighbour, and that is who we are. */
static __always_inline bool is_of_host(const struct address *address, const bool v6)
{
	return (v6 && is_link_local(address)) || is_of_node(address, v6);
}

/* To nobody in particular: no flow, no answer that could be known by it (RFC 1112, RFC 919, RFC 4291 2.7). */
static __always_inline bool is_to_many(const struct address *address, const bool v6)
{
	return v6 ? address->bytes[0] == 0xff : address->bytes[12] >= 224;
}

/* The stack made this packet; what it forwards came in by a device. */
static __always_inline struct endpoint *sending_host(const struct __sk_buff *skb)
{
	return skb->ingress_ifindex ? NULL : host_with_policy();
}

#endif
