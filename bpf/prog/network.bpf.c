/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node's uplinks and tunnel devices: what arrives for a pod or for the node itself (from_network, ingress), and a last look at what
 * leaves (to_network, egress), where the node's own packets are judged. */
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/conntrack.h"
#include "../lib/deliver.h"
#include "../lib/fragment.h"
#include "../lib/host.h"
#include "../lib/icmp.h"
#include "../lib/service.h"

/* What was sent to an address of no pod: where that is a service's which clients outside may use, a pod of this node becomes the destination.
 * Nothing is done for others, which are the node's own or forwarded. */
static __always_inline struct endpoint *enter_service(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	struct endpoint *pod;

	if (!has_ports(packet->protocol))
		return NULL;
	if (packet->flags & PACKET_LATER_FRAGMENT) {
		/* the first one left its ports under the service's address; without them it may be anybody's */
		borrow_ports(skb);
		if (context->reason) {
			context->reason = 0;
			return NULL;
		}
	}
	if (!find_service(packet, SCOPE_OUTSIDE, v6))
		return NULL;
	if (packet->flags & PACKET_FIRST_FRAGMENT)
		borrow_ports(skb);
	context->scope = SCOPE_OUTSIDE;
	look_up_flow(context, v6);
	if (v6)
		translate6(skb);
	else
		translate4(skb);
	if (context->reason || !context->translated.flags)
		return NULL;
	pod = endpoint_at(&packet->destination);
	if (!pod) /* it has left, and the services do not know it yet */
		context->reason = REASON_NO_BACKEND;
	return pod;
}

/* An ICMP error to a service's address, about what one of its backends sent to a client outside (a router's "too big", say). */
static __always_inline struct endpoint *enter_service_error(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct address *source = &context->packet.source;
	struct endpoint *pod = NULL;

	context->scope = SCOPE_OUTSIDE;
	if (follows_flow(skb, context, NULL, NULL, v6)) {
		pod = endpoint_at(&context->packet.destination);
		if (!pod)
			context->reason = REASON_NO_BACKEND;
		else if (pod->flags & ENDPOINT_CLOSED)
			context->reason = REASON_NOT_READY;
		else if (is_here(source, v6) || is_nobody(source, v6))
			context->reason = REASON_SPOOFED_ADDRESS;
	}
	context->scope = SCOPE_INSIDE;
	return pod;
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
	if (!end && !context->reason) {
		if (packet->flags & PACKET_ICMP_ERROR) {
			end = enter_service_error(skb, context, v6);
			to_host = !end;
			if (end || context->reason)
				goto judged;
		} else {
			end = enter_service(skb, context, v6);
			if (context->reason)
				goto dropped;
		}
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
	return drop(skb, context, context->reason, DIRECTION_INGRESS, end);
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

/* Nothing leaves for a service address: the fabric would route it back to a node, and so on in a loop. The socket hook or
 * from_pod translated what they could; the rest is traffic that nobody can answer. */
static __always_inline int leaves(struct __sk_buff *skb, __u32 l3, const bool v6)
{
	struct context *context = begin(l3);
	const struct endpoint *host;
	const struct packet *packet;

	if (!context)
		return TC_ACT_SHOT;
	packet = &context->packet;
	parse(skb, v6);
	if (!context->reason && !(packet->flags & PACKET_LATER_FRAGMENT) && has_ports(packet->protocol) &&
	    find_service(packet, SCOPE_INSIDE, v6))
		return drop(skb, context, REASON_NO_BACKEND, DIRECTION_EGRESS, NULL);
	host = sending_host(skb);
	return host ? host_sends(skb, context, host, v6) : TC_ACT_OK;
}

SEC("tc")
int to_network(struct __sk_buff *skb)
{
	if ((skb->mark & MARK_MASK) == MARK_JUDGED)
		return TC_ACT_OK;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return leaves(skb, l3_offset(skb), false);
	case bpf_htons(ETH_P_IPV6):
		return leaves(skb, l3_offset(skb), true);
	default:
		return TC_ACT_OK;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
