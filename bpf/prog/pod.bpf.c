/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The host side of a pod's veth: what the pod sends (from_pod, ingress) and what the node's own stack sends to it (to_pod,
 * egress). Packets between pods of a node are judged for both ends by from_pod and go straight into the other pod. */
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/clash.h"
#include "../lib/conntrack.h"
#include "../lib/deliver.h"
#include "../lib/echo.h"
#include "../lib/fragment.h"
#include "../lib/host.h"
#include "../lib/icmp.h"
#include "../lib/link_local.h"
#include "../lib/node_client.h"
#include "../lib/proxy.h"
#include "../lib/service.h"

static __always_inline bool owns(const struct endpoint *pod, const struct packet *packet, const bool v6)
{
	if (v6)
		return same_address(&packet->source, &pod->ipv6, true) && !is_unspecified(&pod->ipv6);
	return pod->ipv4 && *ipv4_of((struct address *)&packet->source) == pod->ipv4;
}

static __always_inline int pod_sends(struct __sk_buff *skb, struct context *context, const struct endpoint *pod, const bool v6)
{
	struct packet *packet = &context->packet;
	const struct endpoint *peer, *host = NULL;
	struct ct_entry *entry;
	int verdict;

	parse(skb, v6);
	if (context->reason)
		goto dropped;
	if (v6 && is_link_local_signalling(packet)) {
		if (is_honest_signalling(skb, packet, pod))
			return TC_ACT_OK;
		context->reason = REASON_SPOOFED_ADDRESS;
		goto dropped;
	}
	if (!owns(pod, packet, v6)) {
		context->reason = REASON_SPOOFED_ADDRESS;
		goto dropped;
	}
	resolve_fragment(skb, context);
	if (context->reason)
		goto dropped;
	if (packet->flags & PACKET_ICMP_ERROR) {
		peer = endpoint_at(&packet->destination);
		if (follows_flow(skb, context, pod, peer, v6)) {
			peer = endpoint_at(&packet->destination); /* the error may have got another one */
			if (peer && peer->flags & ENDPOINT_CLOSED)
				context->reason = REASON_NOT_READY;
			goto judged;
		}
		if (context->reason)
			goto dropped;
	}
	entry = look_up_flow(context, v6);
	if (has_ports(packet->protocol) && !is_settled(entry, packet)) {
		go_to_service(skb, context, v6);
		if (context->reason)
			goto dropped;
		if (context->translated.flags)
			entry = look_up_flow(context, v6);
	}
	entry = current_flow(context, entry, true, v6);
	if (context->reason == REASON_CT_COLLISION)
		settle_clash(skb, context, v6);
	if (context->reason)
		goto dropped;
	/* a flow that left this node when it began has no end here now; if that has changed, to_pod asks that pod */
	if ((entry ? entry->flags : context->translated.flags) & CT_LOOPBACK)
		peer = pod;
	else if (!entry || entry->flags & CT_LOCAL)
		peer = endpoint_at(&packet->destination);
	else
		peer = NULL;
	if (peer && peer->flags & ENDPOINT_CLOSED) {
		context->reason = REASON_NOT_READY;
		goto dropped;
	}
	if (!peer && (!entry || entry->flags & CT_LOCAL)) {
		host = host_with_policy();
		if (host && !entry && !is_of_host(&packet->destination, v6))
			host = NULL;
	}
	track(skb, context, entry, pod, peer ? peer : host, AT_POD, v6);
	if (!context->reason && !is_proxied(context))
		show_service(skb, context, v6);
judged:
	if (context->reason)
		goto dropped;
	if (is_proxied(context)) {
		verdict = to_proxy(skb, context, v6);
		if (context->reason)
			goto dropped;
		count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
		return verdict;
	}
	if (!peer && answers_echo(skb, context, SCOPE_INSIDE, v6))
		peer = pod;
	if (context->reason)
		goto dropped;
	count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
	if (context->tracked.flags & CT_STACK || (!peer && context->tracked.flags & CT_LOCAL)) {
		answer_own(skb, context, v6);
		return context->reason ? drop(skb, context, context->reason, DIRECTION_EGRESS, pod) : to_stack(skb);
	}
	if (peer)
		return deliver_local(skb, packet, peer, v6);
	context->mark = context->tracked.flags & CT_MASQUERADE ? MARK_MASQUERADE : MARK_JUDGED;
	return v6 ? deliver_remote6(skb) : deliver_remote4(skb);

dropped:
	return drop(skb, context, context->reason, DIRECTION_EGRESS, pod);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct endpoint_key key = {.ifindex = skb->ifindex};
	struct endpoint *pod = bpf_map_lookup_elem(&endpoint, &key);
	struct context *context = begin(ETH_LENGTH);
	struct ethhdr *eth = at(skb, 0, sizeof(*eth));
	__u32 reason;

	if (!context)
		return TC_ACT_SHOT;
	if (!eth)
		return drop(skb, context, REASON_MALFORMED, DIRECTION_EGRESS, pod);
	if (!pod)
		return drop(skb, context, REASON_UNKNOWN_ENDPOINT, DIRECTION_EGRESS, NULL);
	if (pod->flags & ENDPOINT_CLOSED)
		return drop(skb, context, REASON_NOT_READY, DIRECTION_EGRESS, pod);
	if (!same_mac(eth->h_source, pod->pod_mac))
		return drop(skb, context, REASON_SPOOFED_MAC, DIRECTION_EGRESS, pod);
	if (skb->vlan_present) /* the tag would go out with the packet, into another network than the pod's */
		return drop(skb, context, REASON_UNSUPPORTED_PROTOCOL, DIRECTION_EGRESS, pod);
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return pod_sends(skb, context, pod, false);
	case bpf_htons(ETH_P_IPV6):
		return pod_sends(skb, context, pod, true);
	case bpf_htons(ETH_P_ARP):
		reason = judge_arp(skb, pod);
		return reason ? drop(skb, context, reason, DIRECTION_EGRESS, pod) : TC_ACT_OK;
	default:
		return drop(skb, context, REASON_UNSUPPORTED_PROTOCOL, DIRECTION_EGRESS, pod);
	}
}

static __always_inline int stack_sends(struct __sk_buff *skb, struct context *context, const struct endpoint *pod, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct ct_entry *entry;

	parse(skb, v6);
	if (context->reason)
		goto dropped;
	if (v6 && is_link_local_signalling(packet))
		return TC_ACT_OK;
	if (pod->flags & ENDPOINT_CLOSED) {
		context->reason = REASON_NOT_READY;
		goto dropped;
	}
	/* from_pod or from_network judged it and had no redirect_peer to deliver it with */
	if (!config_redirect_peer && (skb->mark & MARK_MASK) == MARK_DELIVERED)
		return TC_ACT_OK;
	resolve_fragment(skb, context);
	if (context->reason)
		goto dropped;
	if ((skb->mark & MARK_MASK) == MARK_PROXY) {
		goes_on(skb, context, v6);
		goto judged;
	}
	if (v6 ? answers_proxy6(skb) : answers_proxy4(skb))
		return back_to_proxy(skb);
	if (packet->flags & PACKET_ICMP_ERROR) {
		if (follows_flow(skb, context, NULL, pod, v6))
			goto judged;
		if (context->reason)
			goto dropped;
	}
	entry = current_flow(context, look_up_flow(context, v6), false, v6);
	if (context->reason)
		goto dropped;
	track(skb, context, entry, sending_host(skb), pod, AT_STACK, v6);
	if (!context->reason && is_proxied(context)) /* it came by no device where the proxy could have got it */
		context->reason = REASON_PROXY_MISSING;
	if (!context->reason)
		show_service(skb, context, v6);
judged:
	if (context->reason)
		goto dropped;
	count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
	return TC_ACT_OK;

dropped:
	return drop(skb, context, context->reason, DIRECTION_INGRESS, pod);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct endpoint_key key = {.ifindex = skb->ifindex};
	struct endpoint *pod = bpf_map_lookup_elem(&endpoint, &key);
	struct context *context = begin(ETH_LENGTH);
	struct ethhdr *eth = at(skb, 0, sizeof(*eth));

	if (!context)
		return TC_ACT_SHOT;
	if (!eth)
		return drop(skb, context, REASON_MALFORMED, DIRECTION_INGRESS, pod);
	if (!pod)
		return drop(skb, context, REASON_UNKNOWN_ENDPOINT, DIRECTION_INGRESS, NULL);
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return stack_sends(skb, context, pod, false);
	case bpf_htons(ETH_P_IPV6):
		return stack_sends(skb, context, pod, true);
	case bpf_htons(ETH_P_ARP):
		return TC_ACT_OK;
	default:
		return drop(skb, context, REASON_UNSUPPORTED_PROTOCOL, DIRECTION_INGRESS, pod);
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
