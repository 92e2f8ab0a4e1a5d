/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The host side of a pod's veth: what the pod sends (from_pod, ingress) and what the node's own stack sends to it (to_pod,
 * egress). Packets between pods of a node are judged for both ends by from_pod and go straight into the other pod. */
#include <tandem/config.h>
#include <tandem/maps.h>
#include "../lib/conntrack.h"
#include "../lib/deliver.h"
#include "../lib/fragment.h"
#include "../lib/icmp.h"
#include "../lib/link_local.h"
#include "../lib/service.h"

static __always_inline struct endpoint *endpoint_at(const struct address *address)
{
	return bpf_map_lookup_elem(&endpoint_addr, address);
}

static __always_inline struct ipcache_value *node_at(const struct address *address, const bool v6)
{
	return v6 ? bpf_map_lookup_elem(&ipcache6, address)
		  : bpf_map_lookup_elem(&ipcache4, ipv4_of((struct address *)address));
}

static __always_inline bool owns(const struct endpoint *pod, const struct packet *packet, const bool v6)
{
	if (v6)
		return same_address(&packet->source, &pod->ipv6, true);
	return pod->ipv4 && *ipv4_of((struct address *)&packet->source) == pod->ipv4;
}

static __always_inline int pod_sends(struct __sk_buff *skb, const struct endpoint *pod, const bool v6)
{
	struct context *context = begin(ETH_LENGTH);
	struct packet *packet;
	struct endpoint *peer;
	struct ipcache_value *node;
	bool related = false;
	__u32 reason;

	if (!context)
		return TC_ACT_SHOT;
	packet = &context->packet;
	reason = v6 ? parse6(skb, packet) : parse4(skb, packet);

	if (reason)
		goto dropped;
	if (v6 && is_link_local_signalling(packet) &&
	    (owns(pod, packet, true) || is_link_local_or_unspecified(&packet->source)))
		return TC_ACT_OK;
	if (!owns(pod, packet, v6)) {
		reason = REASON_SPOOFED_ADDRESS;
		goto dropped;
	}
	reason = resolve_fragment(packet);
	if (reason)
		goto dropped;
	reason = v6 ? translate6(skb, context) : translate4(skb, context);
	if (reason)
		goto dropped;

	peer = context->translated.flags & CT_LOOPBACK ? (struct endpoint *)pod : endpoint_at(&packet->destination);
	if (peer && peer->flags & ENDPOINT_CLOSED) {
		reason = REASON_NOT_READY;
		goto dropped;
	}
	if (packet->flags & PACKET_ICMP_ERROR)
		related = v6 ? is_related6(skb, packet) : is_related4(skb, packet);
	if (!related) {
		reason = v6 ? track6(skb, context, pod, peer) : track4(skb, context, pod, peer);
		if (!reason)
			reason = v6 ? translate_back6(skb, context) : translate_back4(skb, context);
		if (reason)
			goto dropped;
	}
	if (context->tracked.flags & CT_LOOPBACK)
		peer = (struct endpoint *)pod;

	count(skb, REASON_FORWARDED, DIRECTION_EGRESS);
	if (peer)
		return deliver_local(skb, packet, peer, true, v6);
	node = node_at(&packet->destination, v6);
	if (node && node->flags & IPCACHE_LOCAL_NODE)
		return to_stack(skb);
	return v6 ? deliver_remote6(skb, packet) : deliver_remote4(skb, packet);

dropped:
	return drop(skb, packet, reason, DIRECTION_EGRESS, pod);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct endpoint_key key = {.ifindex = skb->ifindex};
	struct endpoint *pod = bpf_map_lookup_elem(&endpoint, &key);
	struct ethhdr *eth = at(skb, 0, sizeof(*eth));

	if (!eth)
		return drop(skb, NULL, REASON_MALFORMED, DIRECTION_EGRESS, pod);
	if (!pod)
		return drop(skb, NULL, REASON_UNKNOWN_ENDPOINT, DIRECTION_EGRESS, NULL);
	if (pod->flags & ENDPOINT_CLOSED)
		return drop(skb, NULL, REASON_NOT_READY, DIRECTION_EGRESS, pod);
	if (__builtin_memcmp(eth->h_source, pod->pod_mac, 6))
		return drop(skb, NULL, REASON_SPOOFED_MAC, DIRECTION_EGRESS, pod);
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return pod_sends(skb, pod, false);
	case bpf_htons(ETH_P_IPV6):
		return pod_sends(skb, pod, true);
	case bpf_htons(ETH_P_ARP):
		if (!arp_sender_is(skb, pod->ipv4))
			return drop(skb, NULL, REASON_SPOOFED_ADDRESS, DIRECTION_EGRESS, pod);
		return TC_ACT_OK;
	default:
		return drop(skb, NULL, REASON_UNSUPPORTED_PROTOCOL, DIRECTION_EGRESS, pod);
	}
}

static __always_inline int stack_sends(struct __sk_buff *skb, const struct endpoint *pod, const bool v6)
{
	struct context *context = begin(ETH_LENGTH);
	struct packet *packet;
	bool related = false;
	__u32 reason;

	if (!context)
		return TC_ACT_SHOT;
	packet = &context->packet;
	reason = v6 ? parse6(skb, packet) : parse4(skb, packet);

	if (reason)
		goto dropped;
	if (v6 && is_link_local_signalling(packet))
		return TC_ACT_OK;
	if (pod->flags & ENDPOINT_CLOSED) {
		reason = REASON_NOT_READY;
		goto dropped;
	}
	/* from_pod or from_network judged it and had no redirect_peer to deliver it with */
	if ((skb->mark & MARK_MASK) == MARK_JUDGED && !config_redirect_peer)
		goto pass;
	reason = resolve_fragment(packet);
	if (reason)
		goto dropped;
	if (packet->flags & PACKET_ICMP_ERROR)
		related = v6 ? is_related6(skb, packet) : is_related4(skb, packet);
	if (!related) {
		reason = v6 ? track6(skb, context, NULL, pod) : track4(skb, context, NULL, pod);
		if (!reason)
			reason = v6 ? translate_back6(skb, context) : translate_back4(skb, context);
		if (reason)
			goto dropped;
	}
pass:
	count(skb, REASON_FORWARDED, DIRECTION_INGRESS);
	return TC_ACT_OK;

dropped:
	return drop(skb, packet, reason, DIRECTION_INGRESS, pod);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct endpoint_key key = {.ifindex = skb->ifindex};
	struct endpoint *pod = bpf_map_lookup_elem(&endpoint, &key);
	struct ethhdr *eth = at(skb, 0, sizeof(*eth));

	if (!eth)
		return drop(skb, NULL, REASON_MALFORMED, DIRECTION_INGRESS, pod);
	if (!pod)
		return drop(skb, NULL, REASON_UNKNOWN_ENDPOINT, DIRECTION_INGRESS, NULL);
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return stack_sends(skb, pod, false);
	case bpf_htons(ETH_P_IPV6):
		return stack_sends(skb, pod, true);
	case bpf_htons(ETH_P_ARP):
		return TC_ACT_OK;
	default:
		return drop(skb, NULL, REASON_UNSUPPORTED_PROTOCOL, DIRECTION_INGRESS, pod);
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
