/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which clients outside may use a service (loadBalancerSourceRanges). Every packet is asked, not only the first of a flow: who is taken off the
 * list is out at once. What cannot be answered is answered no. */
#ifndef TANDEM_LIB_SOURCE_RANGE_H
#define TANDEM_LIB_SOURCE_RANGE_H

#include "service.h"

/* The list of the frontend that the packet goes to names its sender, or names others if it is one of those who may not. */
static __always_inline bool is_source_allowed(const struct packet *packet, const bool v6)
{
	struct source_rule *rule;
	struct source_range *range;

	if (v6) {
		struct service6_key key = {.port = packet->destination_port, .protocol = packet->protocol, .scope = SCOPE_OUTSIDE};
		struct source_range6_key source = {.prefixlen = 160};

		key.address = packet->destination;
		rule = bpf_map_lookup_elem(&source_rule6, &key);
		if (!rule)
			return false;
		source.list = bpf_htonl(rule->list);
		source.address = packet->source;
		range = bpf_map_lookup_elem(&source_range6, &source);
	} else {
		struct service4_key key = {.port = packet->destination_port, .protocol = packet->protocol, .scope = SCOPE_OUTSIDE};
		struct source_range4_key source = {.prefixlen = 64};

		key.address = *ipv4_of((struct address *)&packet->destination);
		rule = bpf_map_lookup_elem(&source_rule4, &key);
		if (!rule)
			return false;
		source.list = bpf_htonl(rule->list);
		source.address = *ipv4_of((struct address *)&packet->source);
		range = bpf_map_lookup_elem(&source_range4, &source);
	}
	return rule->flags & SOURCE_RULE_DENY ? !range : range != NULL;
}

/* The service that the packet goes to, if its sender may use it; NULL with context->reason: he may not. */
static __always_inline struct service *find_served(struct context *context, const bool v6)
{
	struct service *service = find_service(&context->packet, SCOPE_OUTSIDE, v6);

	if (service && service->flags & SERVICE_RANGES && !is_source_allowed(&context->packet, v6)) {
		context->reason = REASON_SOURCE_RANGE;
		return NULL;
	}
	return service;
}

#endif
