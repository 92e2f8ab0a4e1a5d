/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The driver's receive path of an uplink (XDP): packets of flows that come in and go out again, in the node's name or answered directly, before
 * the kernel makes anything of them. from_network begins every such flow, and does whatever is not done here: a packet that passes on is
 * as it came. Each condition is that of lib/enter.h, where the same packet would get the same name. */
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/conntrack.h"
#include "../lib/deliver.h"
#include "../lib/observe.h"
#include "../lib/renaming.h"
#include "../lib/service.h"
#include "../lib/source_range.h"
#include "../lib/wire.h"

/* The flow's service is still what it was, for this client too. */
static __always_inline struct service *same_service(const struct packet *packet, __u32 table, const bool v6)
{
	struct service *service = find_service(packet, SCOPE_OUTSIDE, v6);

	if (!service || (service->flags & SERVICE_RANGES && !is_source_allowed(packet, v6)))
		return NULL;
	return !table || service->id == table ? service : NULL;
}

/* A flow in the node's name, either way: context->renaming. */
static __always_inline bool goes_on_renamed(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct renaming *to = &context->renaming;

	find_renaming(context, v6);
	if (!context->renamed)
		return false;
	if (to->flags & NAT_BACK)
		return true;
	/* what a pod sends does not come in by an uplink */
	return to->flags & NAT_SERVICE && (packet->protocol == IPPROTO_TCP || same_service(packet, to->table, v6));
}

/* A connection whose backend answers the client itself: context->renaming. */
static __always_inline bool goes_on_directly(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct renaming *to = &context->renaming;
	struct service *service;
	struct ct_entry *entry;

	if (packet->protocol != IPPROTO_TCP || config_dsr_tunnel)
		return false;
	entry = look_up_flow(context, v6);
	if (!entry || !(entry->flags & CT_SERVICE))
		return false;
	service = same_service(packet, 0, v6);
	if (!service || !(service->flags & SERVICE_DSR) || is_here(&packet->source, v6) || is_nobody(&packet->source, v6))
		return false;
	to->source = packet->source;
	to->source_port = packet->source_port;
	to->destination = entry->nat_address;
	to->destination_port = entry->nat_port;
	if (entry->last_used != context->now)
		entry->last_used = context->now;
	return true;
}

/* Where the packet goes under its new name; false: not out again by this device, or not without the stack. */
static __always_inline bool has_way(struct xdp_md *xdp, const struct context *context, struct bpf_fib_lookup *fib, __u32 class,
				    const bool v6)
{
	const struct renaming *to = &context->renaming;

	fib->family = v6 ? FAMILY_IPV6 : FAMILY_IPV4;
	fib->l4_protocol = context->packet.protocol;
	fib->ifindex = xdp->ingress_ifindex;
	fib->tot_len = context->packet.l3_length;
	fib->sport = to->source_port;
	fib->dport = to->destination_port;
	if (v6) {
		fib->flowinfo = class;
		__builtin_memcpy(fib->ipv6_src, to->source.bytes, 16);
		__builtin_memcpy(fib->ipv6_dst, to->destination.bytes, 16);
	} else {
		fib->tos = class;
		fib->ipv4_src = *ipv4_of((struct address *)&to->source);
		fib->ipv4_dst = *ipv4_of((struct address *)&to->destination);
	}
	return bpf_fib_lookup(xdp, fib, sizeof(*fib), 0) == BPF_FIB_LKUP_RET_SUCCESS && fib->ifindex == xdp->ingress_ifindex;
}

static __always_inline int passes_by(struct xdp_md *xdp, const bool v6)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	const __u32 length = end - data;
	struct context *context = begin(ETH_LENGTH);
	struct bpf_fib_lookup fib = {};
	struct packet *packet;
	__u32 class;

	if (!context)
		return XDP_PASS;
	packet = &context->packet;
	if (!read_wire(data, end, packet, v6) || packet->ttl <= 1 || is_opening(packet))
		return XDP_PASS;
	class = v6 ? *(__be32 *)(data + ETH_LENGTH) & bpf_htonl(0x0fffffff) : ((struct iphdr *)(data + ETH_LENGTH))->tos;
	if (endpoint_at(&packet->destination))
		return XDP_PASS;
	if (!goes_on_renamed(context, v6) && !goes_on_directly(context, v6))
		return XDP_PASS;
	if (is_here(&context->renaming.destination, v6) || !has_way(xdp, context, &fib, class, v6))
		return XDP_PASS;
	if (!write_wire(data, end, context, &fib, v6))
		return XDP_PASS;
	count_bytes(length, REASON_FORWARDED, DIRECTION_INGRESS);
	return XDP_TX;
}

SEC("xdp")
int from_wire(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return passes_by(xdp, false);
	case bpf_htons(ETH_P_IPV6):
		return passes_by(xdp, true);
	default:
		return XDP_PASS;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
