/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node's uplinks and tunnel devices: what arrives for a pod or for the node itself (from_network, ingress), and a last look at what
 * leaves (to_network, egress), where the node's own packets are judged. */
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/clash.h"
#include "../lib/conntrack.h"
#include "../lib/deliver.h"
#include "../lib/echo.h"
#include "../lib/enter.h"
#include "../lib/fragment.h"
#include "../lib/host.h"
#include "../lib/icmp.h"
#include "../lib/node_client.h"
#include "../lib/proxy.h"
#include "../lib/renaming.h"
#include "../lib/renaming_icmp.h"
#include "../lib/renaming_port.h"
#include "../lib/service.h"
#include "../lib/too_large.h"

static __always_inline int passes_on(struct __sk_buff *skb, struct context *context, const bool v6)
{
	int result = context->reason ? TC_ACT_SHOT : v6 ? forward6(skb) : forward4(skb);
	const __u32 reason = context->reason;

	if (!reason) {
		count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
		return result;
	}
	drop(skb, context, reason, DIRECTION_INGRESS, NULL);
	if (reason != REASON_TOO_LARGE)
		return TC_ACT_SHOT;
	if (v6)
		quote6(skb);
	else
		quote4(skb);
	if (context->reason)
		return TC_ACT_SHOT;
	result = v6 ? forward6(skb) : forward4(skb);
	return context->reason ? TC_ACT_SHOT : result;
}

/* It was sent to a service that has nobody at all, at an address that is closed by a route (service-routes.ts): the stack says so to the client.
 * Of one whose pods are on other nodes nothing is said: the fabric is about to lead clients there. */
static __always_inline bool is_unserved(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;

	if (context->reason != REASON_NO_BACKEND || context->translated.flags || is_of_node(&packet->destination, v6))
		return false;
	return has_nobody(packet, v6);
}

static __always_inline int arrives(struct __sk_buff *skb, __u32 l3, const bool v6)
{
	struct context *context = begin(l3);
	struct packet *packet;
	struct endpoint *end;
	struct ct_entry *entry;
	bool to_host;
	int verdict;

	if (!context)
		return TC_ACT_SHOT;
	packet = &context->packet;
	parse(skb, v6);
	/* what is neither for a pod of this node nor for a node with a policy is the stack's to judge, malformed or not */
	end = endpoint_at(&packet->destination);
	if (end && !context->reason)
		unwrap_packet(skb, packet, v6);
	if (end && !context->reason)
		unload_service(skb, packet, v6);
	if (!end && !context->reason) {
		context->entered = ENTERED;
		end = packet->flags & PACKET_ICMP_ERROR ? enter_error(skb, context, v6) : enter(skb, context, v6);
		if (context->entered == ENTERED_LEAVES && (!context->reason || context->reason == REASON_TOO_LARGE))
			return passes_on(skb, context, v6);
		if (context->reason)
			goto dropped;
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
	if (context->reason == REASON_CT_COLLISION)
		settle_clash(skb, context, v6);
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
	if (!context->reason && !is_proxied(context))
		show_service(skb, context, v6);
judged:
	if (context->reason)
		goto dropped;
	if (is_proxied(context)) {
		verdict = to_proxy(skb, context, v6);
		if (context->reason)
			goto dropped;
		count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
		return verdict;
	}
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
	    find_service(packet, SCOPE_INSIDE, v6)) {
		if (!is_own_to_service(skb, packet))
			return drop(skb, context, REASON_NO_BACKEND, DIRECTION_EGRESS, NULL);
		verdict = ask_service(skb, context, v6);
		if (context->reason)
			return drop(skb, context, context->reason, DIRECTION_EGRESS, NULL);
		count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
		return verdict;
	}
	host = sending_host(skb);
	if (host)
		verdict = host_sends(skb, context, host, v6);
	if (verdict != TC_ACT_OK || context->reason)
		return verdict;
	if (!skb->ingress_ifindex && answers_echo(skb, context, SCOPE_INSIDE, v6)) {
		if (context->reason)
			return drop(skb, context, context->reason, DIRECTION_EGRESS, host);
		if (!host)
			count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
		return echo_to_stack(skb, l3);
	}
	/* what is forwarded is in the node's name where the kernel masqueraded it: its ports may be another flow's, as the node's own may */
	if (skb->ingress_ifindex && !is_of_node(&packet->source, v6))
		return TC_ACT_OK;
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
		if (!take_address_of(to, skb->ifindex, v6)) {
			context->reason = REASON_NAT_FAILED;
			goto dropped;
		}
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

/* What the L7 proxy sends: to a server in a pod's name, or to a client in a server's. True: it leaves in the node's name. */
static __always_inline bool proxy_leaves(struct __sk_buff *skb, __u32 l3, const bool v6)
{
	struct context *context = begin(l3);

	if (!context)
		return false;
	parse(skb, v6);
	if (context->reason || context->packet.flags & PACKET_ICMP_ERROR)
		return false;
	resolve_fragment(skb, context);
	if (context->reason)
		return false;
	goes_on(skb, context, v6);
	return context->tracked.flags & CT_MASQUERADE && !context->tracked.reply;
}

SEC("tc")
int to_network(struct __sk_buff *skb)
{
	__u32 mark = skb->mark & MARK_MASK;
	const bool v6 = skb->protocol == bpf_htons(ETH_P_IPV6);

	if (mark == MARK_JUDGED)
		return TC_ACT_OK;
	if (mark == MARK_PROXY) {
		if (!(v6 ? proxy_leaves(skb, l3_offset(skb), true) : proxy_leaves(skb, l3_offset(skb), false)))
			return TC_ACT_OK;
		mark = MARK_MASQUERADE;
	}
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
