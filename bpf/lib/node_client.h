/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node's own SCTP to services. The kernel calls no cgroup program when such a socket connects, so its packets come to an uplink, where their route
 * leads. From there they are flows of renaming.h: the destination becomes a backend, the source is the node's already, and what answers becomes the
 * service's, in from_network or, of a pod of this node, in from_pod. A node with a policy of its own judges its packets by who they are for: there they
 * are refused. So are fragments (SCTP makes chunks that fit) and servers of this very node, whose answers pass no program. */
#ifndef TANDEM_LIB_NODE_CLIENT_H
#define TANDEM_LIB_NODE_CLIENT_H

#include "deliver.h"
#include "enter.h"
#include "host.h"
#include "renaming_port.h"
#include "service.h"

/* `packet` is for a service's address and came to an uplink on its way out: it is the node's own, and may have a backend. */
static __always_inline bool is_own_to_service(const struct __sk_buff *skb, const struct packet *packet)
{
	return packet->protocol == IPPROTO_SCTP && !skb->ingress_ifindex && !(packet->flags & PACKET_FIRST_FRAGMENT) && !host_with_policy();
}

/* context->renaming: a backend for what begins; context->reason: there is none. The port is taken by who called, for each call has a part of the stack, of
 * which Linux 6.1 has 512 bytes for all that are under way. */
static __always_inline void choose_own(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct renaming *to = &context->renaming;
	struct service *service = find_service(packet, SCOPE_INSIDE, v6);
	struct ct_entry fresh = {};

	context->scope = SCOPE_INSIDE;
	/* before a port is taken: the next packet may find another backend */
	if (!service || !choose_backend(context, service, &fresh, v6) || is_of_node(&fresh.nat_address, v6)) {
		context->reason = REASON_NO_BACKEND;
		return;
	}
	count_flow(&packet->destination, packet->destination_port, packet->protocol, SCOPE_INSIDE);
	to->source = packet->source;
	to->destination = fresh.nat_address;
	to->destination_port = fresh.nat_port;
	to->flags = NAT_SERVICE;
	to->table = fresh.nat_id;
}

STEP choose_own4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	asm volatile("" ::"r"(skb)); /* see borrow_ports */
	if (context)
		choose_own(context, false);
	return 0;
}

STEP choose_own6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	asm volatile("" ::"r"(skb)); /* see borrow_ports */
	if (context)
		choose_own(context, true);
	return 0;
}

/* To a backend: context->reason says why not. to_pod judges it where that is a pod of this node. */
static __always_inline int ask_service(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct endpoint *pod;

	if (!is_renamed(skb, context, v6) || is_outdated(context, SCOPE_INSIDE, v6)) {
		if (v6)
			choose_own6(skb);
		else
			choose_own4(skb);
		if (!context->reason)
			begin_renaming(skb, v6);
	}
	if (!context->reason)
		take_name(skb, v6);
	if (context->reason)
		return TC_ACT_SHOT;
	pod = endpoint_at(&packet->destination);
	if (!pod)
		return v6 ? forward6(skb) : forward4(skb);
	if (packet->l3 != ETH_LENGTH || !set_macs(skb, pod->pod_mac, pod->host_mac)) {
		context->reason = REASON_NO_ROUTE;
		return TC_ACT_SHOT;
	}
	return bpf_redirect(pod->ifindex, 0);
}

/* What a pod answers to such a flow shows the service. */
static __always_inline void answer_own(struct __sk_buff *skb, struct context *context, const bool v6)
{
	if (context->packet.protocol != IPPROTO_SCTP || !is_renamed(skb, context, v6) || !(context->renaming.flags & NAT_BACK))
		return;
	take_name(skb, v6);
}

#endif
