/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What comes in from outside for no pod: for a service that clients outside may use, or in answer to what left in this node's name. */
#ifndef TANDEM_LIB_ENTER_H
#define TANDEM_LIB_ENTER_H

#include <tandem/maps.h>
#include "conntrack.h"
#include "deliver.h"
#include "dsr.h"
#include "dsr_tunnel.h"
#include "echo.h"
#include "fragment.h"
#include "icmp.h"
#include "kernel_flow.h"
#include "renaming.h"
#include "renaming_icmp.h"
#include "renaming_port.h"
#include "service.h"
#include "source_range.h"

/* The address under which this node's packets leave for context->renaming.destination becomes the source. False: they cannot. */
static __always_inline bool take_own_address(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct bpf_fib_lookup fib = {.family = v6 ? FAMILY_IPV6 : FAMILY_IPV4, .ifindex = skb->ifindex};
	struct renaming *to = &context->renaming;

	if (v6)
		__builtin_memcpy(fib.ipv6_dst, to->destination.bytes, 16);
	else
		fib.ipv4_dst = *ipv4_of(&to->destination);
	if (!is_routed(bpf_fib_lookup(skb, &fib, sizeof(fib), 0)))
		return false;
	return take_address_of(&context->renaming, fib.ifindex, v6);
}

/* A client outside begins a flow with a backend on another node, or with a server of this node's own: that one answers past the programs of
 * pods, but not past to_network. */
static __always_inline void enter_elsewhere(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct renaming *to = &context->renaming;

	to->flags = NAT_SERVICE;
	if (is_of_node(&to->destination, v6)) {
		to->flags |= NAT_KEEPS_SOURCE;
		to->source = context->packet.source;
	} else if (!take_own_address(skb, context, v6)) {
		context->reason = REASON_NO_ROUTE;
		return;
	}
	begin_renaming(skb, v6);
}

/* The packet's flow with a service is over, though its client goes on: datagrams to a backend that the service has no more, or a new
 * connection under an old one's ports; or it is one that the service is not for any more. It is forgotten. */
static __always_inline bool is_outdated(struct context *context, __u32 scope, const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct renaming *to = &context->renaming;
	struct nat_state *state;
	struct service *service;

	if (!(to->flags & NAT_SERVICE) || to->flags & NAT_BACK || (packet->protocol == IPPROTO_TCP && !is_opening(packet)))
		return false;
	service = find_service(packet, scope, v6);
	if (service && scope == SCOPE_OUTSIDE && service->flags & SERVICE_RANGES && !is_source_allowed(packet, v6))
		service = NULL;
	if (service && service->id == to->table)
		return false;
	nat_key_of(&context->nat_key, packet, v6);
	if (service && has_backend(service, &to->destination, to->destination_port)) {
		state = nat_find(&context->nat_key, NULL, v6);
		if (state)
			state->table = service->id;
		return false;
	}
	nat_delete(&context->nat_key, v6);
	nat_key_back(&context->nat_key, to, packet->protocol, v6);
	nat_delete(&context->nat_key, v6);
	return true;
}

/* The packet has its new name: who gets it? */
static __always_inline struct endpoint *find_receiver(struct context *context, const bool v6)
{
	const struct address *to = &context->packet.destination;
	struct endpoint *pod = endpoint_at(to);

	if (!pod && !is_of_node(to, v6))
		context->entered = ENTERED_LEAVES;
	return pod;
}

static __always_inline struct endpoint *enter_renamed(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct translation *done = &context->translated;
	struct endpoint *pod;

	if (context->packet.flags & PACKET_FIRST_FRAGMENT)
		borrow_ports(skb);
	take_name(skb, v6);
	if (context->reason)
		return NULL;
	pod = find_receiver(context, v6);
	if (pod && !(context->renaming.flags & NAT_BACK)) { /* see clash.h */
		done->vip = context->arrived.destination;
		done->vip_port = 0;
		done->table = context->renaming.table;
		done->flags = CT_NAT;
	}
	return pod;
}

/* The packet goes on with a connection that no entry of ours leads to a backend, but that the kernel has: others' rules began it, and only they know its
 * backend. What the kernel does not have either is a flow that the fabric brings here from another node. */
static __always_inline bool is_of_others(struct __sk_buff *skb, const struct context *context, const struct ct_entry *entry, const bool v6)
{
	const struct packet *packet = &context->packet;

	if (packet->protocol != IPPROTO_TCP || is_opening(packet) || (entry && entry->flags & CT_SERVICE))
		return false;
	return v6 ? is_kernel_flow6(skb) : is_kernel_flow4(skb);
}

/* What was sent to an address of no pod: an answer to what left under this node's name goes to who sent it; what is for a service which clients
 * outside may use gets a backend. Nothing is done for others, which are the node's own or forwarded. */
static __always_inline struct endpoint *enter(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	struct service *service;
	struct endpoint *pod;
	bool directly;

	if (packet->flags & PACKET_LATER_FRAGMENT) {
		/* the first one left its ports under the address that it was sent to; without them it may be anybody's */
		borrow_ports(skb);
		if (context->reason) {
			context->reason = 0;
			return NULL;
		}
	}
	remember_tuple(context);
	if (is_renamed(skb, context, v6) && !is_outdated(context, SCOPE_OUTSIDE, v6)) {
		/* whose hops are used up is told by the stack, as long as it would not take the packet for its own */
		if (packet->ttl <= 1 && !(context->renaming.flags & NAT_BACK))
			return NULL;
		return enter_renamed(skb, context, v6);
	}
	if (answers_echo(skb, context, SCOPE_OUTSIDE, v6)) {
		context->entered = ENTERED_LEAVES;
		return NULL;
	}
	service = has_ports(packet->protocol) ? find_served(context, v6) : NULL;
	if (!service)
		return NULL;
	directly = service->flags & SERVICE_DSR;
	if (packet->flags & PACKET_FIRST_FRAGMENT)
		borrow_ports(skb);
	if (is_of_others(skb, context, look_up_flow(context, v6), v6))
		return NULL;
	context->scope = SCOPE_OUTSIDE;
	go_to_service(skb, context, v6);
	if (context->reason == REASON_NO_BACKEND && is_of_node(&packet->destination, v6) && has_nobody(packet, v6)) {
		/* the node's own stack refuses, under the node's policy */
		context->reason = 0;
		context->scope = SCOPE_INSIDE;
		return NULL;
	}
	if (context->reason)
		return NULL;
	if (context->elsewhere) {
		if (packet->ttl <= 1)
			return NULL;
		enter_elsewhere(skb, context, v6);
		return context->reason ? NULL : enter_renamed(skb, context, v6);
	}
	if (!context->translated.flags)
		return NULL;
	pod = endpoint_at(&packet->destination);
	if (pod) {
		/* the fabric may bring the rest of the flow to another node, which sends it here plain */
		if (directly)
			context->translated.flags |= CT_DSR;
		return pod;
	}
	if (directly) {
		context->entered = ENTERED_LEAVES;
		if ((packet->protocol != IPPROTO_TCP || is_opening(packet)) && may_carry(skb, packet, v6)) {
			if (v6)
				carry_service6(skb);
			else
				carry_service4(skb);
		}
		if (config_dsr_tunnel && !context->reason) {
			if (v6)
				wrap6(skb);
			else
				wrap4(skb);
		}
	} else { /* it has left, and the services do not know it yet */
		context->reason = REASON_NO_BACKEND;
	}
	return NULL;
}

/* An ICMP error about what left under another name, or about what a backend of this node sent to a client outside (a router's
 * "too big", say). */
static __always_inline struct endpoint *enter_error(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct address *source = &context->packet.source;
	struct endpoint *pod = NULL;

	if (follows_renamed(skb, context, v6)) {
		pod = find_receiver(context, v6);
	} else if (!context->reason) {
		context->scope = SCOPE_OUTSIDE;
		if (follows_flow(skb, context, NULL, NULL, v6)) {
			pod = endpoint_at(&context->packet.destination);
			context->entered = pod ? ENTERED_JUDGED : ENTERED_LEAVES;
			if (pod && pod->flags & ENDPOINT_CLOSED)
				context->reason = REASON_NOT_READY;
		}
		context->scope = SCOPE_INSIDE;
	}
	if ((pod || context->entered) && (is_here(source, v6) || is_nobody(source, v6)))
		context->reason = REASON_SPOOFED_ADDRESS;
	return pod;
}

#endif
