/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What pods send to where nobody knows their addresses leaves under the node's. Which flows those are is decided once, when they begin, so that
 * a route that comes or goes breaks none that runs. */
#ifndef TANDEM_LIB_MASQUERADE_H
#define TANDEM_LIB_MASQUERADE_H

#include <tandem/config.h>
#include "renaming.h"

static __always_inline bool is_native(const struct address *address, const bool v6)
{
	struct native_prefix *prefix;

	if (v6) {
		struct prefix6_key key = {.prefixlen = 128};

		key.address = *address;
		prefix = bpf_map_lookup_elem(&native_prefix6, &key);
	} else {
		struct prefix4_key key = {.prefixlen = 32};

		key.address = *ipv4_of((struct address *)address);
		prefix = bpf_map_lookup_elem(&native_prefix4, &key);
	}
	return prefix && prefix->flags & NATIVE_KEEP;
}

/* Of a flow that conntrack does not know (any more): one that has got a name already keeps it. */
static __always_inline bool is_masqueraded(struct __sk_buff *skb, const struct context *context, const bool v6)
{
	const struct address *to = &context->packet.destination;

	if (!(v6 ? config_masquerade_ipv6 : config_masquerade_ipv4) || is_nobody(to, v6))
		return false;
	return !is_native(to, v6) || is_renamed(skb, context, v6);
}

#endif
