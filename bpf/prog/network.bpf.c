/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node's uplinks and tunnel devices: what arrives for a pod or for the node itself (from_network, ingress), and a last look at what
 * leaves (to_network, egress), where the node's own packets are judged. */
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/conntrack.h"
#include "../lib/deliver.h"
#include "../lib/dsr.h"
#include "../lib/fragment.h"
#include "../lib/host.h"
#include "../lib/icmp.h"
#include "../lib/renaming.h"
#include "../lib/renaming_icmp.h"
#include "../lib/renaming_port.h"
#include "../lib/service.h"
#include "../lib/source_range.h"

/* The address under which this node's packets leave for context->renaming.destination becomes the source. False: they cannot. */
static __always_inline bool take_own_address(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct bpf_fib_lookup fib = {.family = v6 ? FAMILY_IPV6 : FAMILY_IPV4, .ifindex = skb->ifindex};
	struct renaming *to = &context->renaming;
	struct device_address *own;
	struct device_key key;

	if (v6)
		__builtin_memcpy(fib.ipv6_dst, to->destination.bytes, 16);
	else
		fib.ipv4_dst = *ipv4_of(&to->destination);
	if (!is_routed(bpf_fib_lookup(skb, &fib, sizeof(fib), 0)))
		return false;
	key.ifindex = fib.ifindex;
	own = bpf_map_lookup_elem(&device_address, &key);
	if (!own || (v6 ? is_unspecified(&own->ipv6) : !own->ipv4))
		return false;
	if (v6)
		to->source = own->ipv6;
	else
		set_ipv4(&to->source, own->ipv4);
	return true;
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
 * connection under an old one's ports. It is forgotten. */
static __always_inline bool is_outdated(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct renaming *to = &context->renaming;
	struct nat_state *state;
	struct service *service;

	if (!(to->flags & NAT_SERVICE) || to->flags & NAT_BACK || (packet->protocol == IPPROTO_TCP && !is_opening(packet)))
		return false;
	service = find_service(packet, SCOPE_OUTSIDE, v6);
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
	if (context->packet.flags & PACKET_FIRST_FRAGMENT)
		borrow_ports(skb);
	take_name(skb, v6);
	return context->reason ? NULL : find_receiver(context, v6);
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
	if (is_renamed(skb, context, v6) && !is_outdated(context, v6)) {
		/* whose hops are used up is told by the stack, as long as it would not take the packet for its own */
		if (packet->ttl <= 1 && !(context->renaming.flags & NAT_BACK))
			return NULL;
		return enter_renamed(skb, context, v6);
	}
	service = has_ports(packet->protocol) ? find_served(context, v6) : NULL;
	if (!service)
		return NULL;
	directly = service->flags & SERVICE_DSR;
	if (packet->flags & PACKET_FIRST_FRAGMENT)
		borrow_ports(skb);
	context->scope = SCOPE_OUTSIDE;
	look_up_flow(context, v6);
	if (v6)
		translate6(skb);
	else
		translate4(skb);
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
	if (pod)
		return pod;
	if (directly) {
		context->entered = ENTERED_LEAVES;
		if ((packet->protocol != IPPROTO_TCP || is_opening(packet)) && may_carry(skb, packet, v6)) {
			if (v6)
				carry_service6(skb);
			else
				carry_service4(skb);
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

static __always_inline int passes_on(struct __sk_buff *skb, struct context *context, const bool v6)
{
	int result = v6 ? forward6(skb) : forward4(skb);

	if (context->reason)
		return drop(skb, context, context->reason, DIRECTION_INGRESS, NULL);
	count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
	return result;
}

/* It was sent to a service that has nobody at all, at an address that is closed by a route (service-routes.ts): the stack says so to the client.
 * Of one whose pods are on other nodes nothing is said: the fabric is about to lead clients there. */
static __always_inline bool is_unserved(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct service *service;

	if (context->reason != REASON_NO_BACKEND || context->translated.flags || is_of_node(&packet->destination, v6))
		return false;
	service = find_service(packet, SCOPE_INSIDE, v6);
	return service && !service->backends;
}

static __always_inline int arrives(struct __sk_buff *skb, __u32 l3, const bool v6)
{
	struct context *context = begin(l3);
	struct packet *packet;
	struct endpoint *end;
	struct ct_entry *entry;
	bool to_host;

	if (!context)
		return TC_ACT_SHOT;
	packet = &context->packet;
	parse(skb, v6);
	/* what is neither for a pod of this node nor for a node with a policy is the stack's to judge, malformed or not */
	end = endpoint_at(&packet->destination);
	if (end && !context->reason)
		unload_service(skb, packet, v6);
	if (!end && !context->reason) {
		context->entered = ENTERED;
		end = packet->flags & PACKET_ICMP_ERROR ? enter_error(skb, context, v6) : enter(skb, context, v6);
		if (context->reason)
			goto dropped;
		if (context->entered == ENTERED_LEAVES)
			return passes_on(skb, context, v6);
		to_host = !end;
		if (context->entered == ENTERED_JUDGED)
			goto judged;
	}
	to_host = !end;
	if (to_host) {
		end = host_with_policy();
		if (!end || !is_of_host(&packet->destination, v6))
			return TC_ACT_OK;
		if (v6 && !context->reason && is_link_local_signalling(packet))
			return TC_ACT_OK;
	}
	if (context->reason)
		goto dropped;
	if (end->flags & ENDPOINT_CLOSED) {
		context->reason = REASON_NOT_READY;
		goto dropped;
	}
	resolve_fragment(skb, context);
	if (context->reason)
		goto dropped;
	if (packet->flags & PACKET_ICMP_ERROR) {
		if (is_here(&packet->source, v6) || (!to_host && is_nobody(&packet->source, v6))) {
			context->reason = REASON_SPOOFED_ADDRESS;
			goto dropped;
		}
		if (follows_flow(skb, context, NULL, end, v6))
			goto judged;
		if (context->reason)
			goto dropped;
	}
	entry = current_flow(context, look_up_flow(context, v6), true, v6);
	if (context->reason)
		goto dropped;
	/* new flows are looked at when they are opened; of others only those with both ends here can be abused from outside */
	if (entry && entry->flags & CT_LOCAL) {
		if (is_here(&packet->source, v6)) {
			context->reason = REASON_SPOOFED_ADDRESS;
			goto dropped;
		}
		entry->flags &= ~CT_LOCAL; /* that address has moved */
	}
	track(skb, context, entry, NULL, end, to_host ? AT_HOST : AT_NETWORK, v6);
	if (!context->reason)
		show_service(skb, context, v6);
judged:
	if (context->reason)
		goto dropped;
	count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
	return to_host ? TC_ACT_OK : deliver_local(skb, packet, end, v6);

dropped:
	drop(skb, context, context->reason, DIRECTION_INGRESS, end);
	return is_unserved(context, v6) ? TC_ACT_OK : TC_ACT_SHOT;
}

/* 14 with an Ethernet header, 0 on kube-router's tun-*. */
static __always_inline __u32 l3_offset(struct __sk_buff *skb)
{
	struct device_key key = {.ifindex = skb->ifindex};
	struct device *known = bpf_map_lookup_elem(&device, &key);

	return known && known->flags & DEVICE_L3 ? 0 : ETH_LENGTH;
}

SEC("tc")
int from_network(struct __sk_buff *skb)
{
	__u32 l3 = l3_offset(skb);

	if (skb->vlan_present) /* another network's: its own device gets it from the stack */
		return TC_ACT_OK;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return arrives(skb, l3, false);
	case bpf_htons(ETH_P_IPV6):
		return arrives(skb, l3, true);
	default:
		return TC_ACT_OK;
	}
}

/* What the node itself sends, to another node or out of the cluster. An ICMP error that it sends as a router is about a flow of others. */
static __always_inline int host_sends(struct __sk_buff *skb, struct context *context, const struct endpoint *host, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct ct_entry *entry;

	if (is_to_many(&packet->destination, v6) || (v6 && !context->reason && is_link_local_signalling(packet)))
		return TC_ACT_OK;
	if (context->reason)
		goto dropped;
	resolve_fragment(skb, context);
	if (context->reason)
		goto dropped;
	if (packet->flags & PACKET_ICMP_ERROR) {
		if (follows_flow(skb, context, NULL, NULL, v6))
			goto judged;
		if (context->reason)
			goto dropped;
	}
	entry = current_flow(context, look_up_flow(context, v6), false, v6);
	if (context->reason)
		goto dropped;
	track(skb, context, entry, host, NULL, AT_STACK, v6);
	if (context->reason)
		goto dropped;
judged:
	count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
	return TC_ACT_OK;

dropped:
	return drop(skb, context, context->reason, DIRECTION_EGRESS, host);
}

/* What the node itself sends, once it is allowed: answers of its servers to clients of a service show the service; and a connection whose ports
 * another flow has with this peer, in the node's name, gets other ones. */
static __always_inline int sends_renamed(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct renaming *to = &context->renaming;

	if (packet->flags & PACKET_ICMP_ERROR)
		return TC_ACT_OK;
	if (!is_renamed(skb, context, v6)) {
		if (!has_ports(packet->protocol) || (packet->protocol == IPPROTO_TCP && !is_opening(packet)))
			return TC_ACT_OK;
		nat_key_of_answer(&context->nat_key, packet, v6);
		if (!nat_find(&context->nat_key, NULL, v6))
			return TC_ACT_OK;
		to->source = packet->source;
		to->destination = packet->destination;
		to->destination_port = packet->destination_port;
		to->flags = 0;
		to->table = 0;
		begin_renaming(skb, v6);
	}
	if (!context->reason)
		take_name(skb, v6);
	return context->reason ? drop(skb, context, context->reason, DIRECTION_EGRESS, NULL) : TC_ACT_OK;
}

/* Nothing leaves for a service address: the fabric would route it back to a node, and so on in a loop. The socket hook or
 * from_pod translated what they could; the rest is traffic that nobody can answer. */
static __always_inline int leaves(struct __sk_buff *skb, __u32 l3, const bool v6)
{
	struct context *context = begin(l3);
	const struct endpoint *host;
	const struct packet *packet;
	int verdict = TC_ACT_OK;

	if (!context)
		return TC_ACT_SHOT;
	packet = &context->packet;
	parse(skb, v6);
	if (!context->reason && !(packet->flags & PACKET_LATER_FRAGMENT) && has_ports(packet->protocol) &&
	    find_service(packet, SCOPE_INSIDE, v6))
		return drop(skb, context, REASON_NO_BACKEND, DIRECTION_EGRESS, NULL);
	host = sending_host(skb);
	if (host)
		verdict = host_sends(skb, context, host, v6);
	if (verdict != TC_ACT_OK || context->reason || skb->ingress_ifindex)
		return verdict;
	if (!host)
		resolve_fragment(skb, context);
	if (context->reason) /* nobody judges the node's fragments while it has no policy */
		return TC_ACT_OK;
	return sends_renamed(skb, context, v6);
}

/* What a pod sends leaves in the node's name. */
static __always_inline int masquerades(struct __sk_buff *skb, __u32 l3, const bool v6)
{
	struct context *context = begin(l3);
	struct renaming *to;
	struct device_address *own;
	struct device_key key = {.ifindex = skb->ifindex};

	if (!context)
		return TC_ACT_SHOT;
	to = &context->renaming;
	parse(skb, v6);
	if (!context->reason)
		resolve_fragment(skb, context);
	if (context->reason)
		goto dropped;
	if (context->packet.flags & PACKET_ICMP_ERROR) {
		if (!follows_renamed(skb, context, v6) && !context->reason)
			context->reason = REASON_NAT_FAILED;
		if (context->reason)
			goto dropped;
		return TC_ACT_OK;
	}
	if (!is_renamed(skb, context, v6)) {
		own = bpf_map_lookup_elem(&device_address, &key);
		if (!own || (v6 ? is_unspecified(&own->ipv6) : !own->ipv4)) {
			context->reason = REASON_NAT_FAILED;
			goto dropped;
		}
		if (v6)
			to->source = own->ipv6;
		else
			set_ipv4(&to->source, own->ipv4);
		to->destination = context->packet.destination;
		to->destination_port = context->packet.destination_port;
		to->flags = 0;
		to->table = 0;
		begin_renaming(skb, v6);
	}
	if (!context->reason)
		take_name(skb, v6);
	if (!context->reason)
		return TC_ACT_OK;
dropped:
	return drop(skb, context, context->reason, DIRECTION_EGRESS, NULL);
}

SEC("tc")
int to_network(struct __sk_buff *skb)
{
	const __u32 mark = skb->mark & MARK_MASK;

	if (mark == MARK_JUDGED)
		return TC_ACT_OK;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return mark == MARK_MASQUERADE ? masquerades(skb, l3_offset(skb), false) : leaves(skb, l3_offset(skb), false);
	case bpf_htons(ETH_P_IPV6):
		return mark == MARK_MASQUERADE ? masquerades(skb, l3_offset(skb), true) : leaves(skb, l3_offset(skb), true);
	default:
		return TC_ACT_OK;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
