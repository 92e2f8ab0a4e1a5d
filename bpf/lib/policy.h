/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict of one end of a flow: identities, then rule-group bit vectors. Its cost does not grow with rules. */
#ifndef TANDEM_LIB_POLICY_H
#define TANDEM_LIB_POLICY_H

#include <tandem/maps.h>
#include "observe.h"

#define NO_GROUP 0xffff

/* How a packet relates to the end that is judged: bits of the last argument of judge(). */
enum judged {
	JUDGE_INGRESS = 1 << 0, /* the end answers the flow; else it opened it */
	JUDGE_REPLY = 1 << 1,	/* the packet is one of the responder's */
	JUDGE_IPV6 = 1 << 2,
};

static __always_inline bool is_outside(__u32 identity)
{
	return identity == ID_WORLD || identity == ID_WORLD_IPV4 || identity == ID_WORLD_IPV6;
}

/* Who has an address. Pods and nodes are in ipcache; what is inside of a pod CIDR but unknown is unmanaged, not world. */
static __always_inline __u32 identity_of(const struct address *address, const bool v6)
{
	struct ipcache_value *value;

	if (v6) {
		struct prefix6_key prefix = {.prefixlen = 128};

		value = bpf_map_lookup_elem(&ipcache6, address);
		if (value)
			return value->identity;
		prefix.address = *address;
		value = bpf_map_lookup_elem(&cluster_prefix6, &prefix);
		return value ? value->identity : ID_WORLD_IPV6;
	} else {
		struct prefix4_key prefix = {.prefixlen = 32};

		prefix.address = *ipv4_of((struct address *)address);
		value = bpf_map_lookup_elem(&ipcache4, &prefix.address);
		if (value)
			return value->identity;
		value = bpf_map_lookup_elem(&cluster_prefix4, &prefix);
		return value ? value->identity : ID_WORLD_IPV4;
	}
}

static __always_inline struct policy_bits *prefix_groups(__u32 set_direction, const struct address *peer, const bool v6)
{
	if (v6) {
		struct policy_prefix6_key key = {.prefixlen = 160, .set_direction = bpf_htonl(set_direction)};

		key.address = *peer;
		return bpf_map_lookup_elem(&policy_prefix6, &key);
	} else {
		struct policy_prefix4_key key = {.prefixlen = 64, .set_direction = bpf_htonl(set_direction)};

		key.address = *ipv4_of((struct address *)peer);
		return bpf_map_lookup_elem(&policy_prefix4, &key);
	}
}

/* What the lowest group that is set says: reason 0 (allowed) or why not; REASON_POLICY and NO_GROUP if none is. */
static __always_inline __u32 look_up_policy(__u32 set_direction, __u32 identity, const struct address *peer,
					    __u8 protocol, __be16 port, __u16 *group, const bool v6)
{
	struct policy_port_key port_key = {.prefixlen = 56, .set_direction = bpf_htonl(set_direction)};
	struct policy_peer_key peer_key = {.set_direction = set_direction, .identity = identity};
	struct policy_bits *ports, *named, *any, *prefix = NULL;
	struct policy_set *set = bpf_map_lookup_elem(&policy_set, &set_direction);
	bool outside = is_outside(identity);

	*group = NO_GROUP;
	if (!set)
		return REASON_NOT_READY;
	port_key.protocol = protocol;
	__builtin_memcpy(port_key.port, &port, sizeof(port_key.port));
	ports = bpf_map_lookup_elem(&policy_port, &port_key);
	if (!ports)
		return REASON_POLICY;
	named = bpf_map_lookup_elem(&policy_peer, &peer_key);
	peer_key.identity = 0;
	any = bpf_map_lookup_elem(&policy_peer, &peer_key);
	if (set->flags & (v6 ? POLICY_SET_PREFIX6 : POLICY_SET_PREFIX4))
		prefix = prefix_groups(set_direction, peer, v6);

#pragma unroll
	for (int word = 0; word < POLICY_WORDS; word++) {
		__u64 bits = 0;

		if (word >= set->words)
			break;
		if (prefix)
			bits = outside ? prefix->words[word] : prefix->words[word] & ~set->outside_only.words[word];
		if (named)
			bits |= named->words[word];
		if (any)
			bits |= any->words[word];
		bits &= ports->words[word];
		if (bits) {
			__u16 lowest = word * 64 + __builtin_ctzll(bits);

			*group = lowest;
			if (lowest < set->denies)
				return REASON_POLICY_DENY;
			if (lowest < set->denies + set->allows)
				return REASON_FORWARDED;
			return REASON_PROXY_MISSING;
		}
	}
	return REASON_POLICY;
}

/* Judges one local end of a flow, as its initiator opened it, and reports the verdict. Two ends may be judged for one packet. */
static __noinline __u32 judge(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *end, __u32 how)
{
	const __u32 direction = how & JUDGE_INGRESS ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	const bool ingress = how & JUDGE_INGRESS, reply = how & JUDGE_REPLY;
	const bool enforced = end->flags & (ingress ? ENDPOINT_ENFORCE_INGRESS : ENDPOINT_ENFORCE_EGRESS);
	const struct address *peer = ingress == reply ? &packet->destination : &packet->source;
	const __be16 port = reply ? packet->source_port : packet->destination_port;
	struct sighting seen = {.type = EVENT_VERDICT, .direction = direction, .group = NO_GROUP};
	__u32 identity, reason = REASON_POLICY;

	if (!enforced && !(end->flags & (ingress ? ENDPOINT_POLICY_INGRESS : ENDPOINT_POLICY_EGRESS)))
		return REASON_FORWARDED;
	if (how & JUDGE_IPV6) {
		identity = identity_of(peer, true);
		reason = look_up_policy(end->policy_set << 1 | direction, identity, peer, packet->protocol, port, &seen.group, true);
	} else {
		identity = identity_of(peer, false);
		reason = look_up_policy(end->policy_set << 1 | direction, identity, peer, packet->protocol, port, &seen.group, false);
	}
	if (reason == REASON_POLICY && !enforced)
		reason = REASON_FORWARDED;

	seen.reason = reason;
	seen.flags = (how & JUDGE_IPV6 ? EVENT_IPV6 : 0) | (reply ? EVENT_REPLY : 0) | (reason ? 0 : EVENT_ALLOWED);
	if (reason && end->flags & ENDPOINT_AUDIT) {
		seen.flags |= EVENT_AUDIT | EVENT_ALLOWED;
		reason = REASON_FORWARDED;
	}
	if (reason) {
		seen.type = EVENT_DROP;
		if (!may_report_drop())
			return reason;
	}
	/* as the packet has them: the source is the peer when the end is the packet's destination */
	seen.source_identity = peer == &packet->source ? identity : end->identity;
	seen.destination_identity = peer == &packet->source ? end->identity : identity;
	seen.endpoint = end->id;
	seen.policy_set = end->policy_set;
	emit(skb, packet, &seen);
	return reason;
}

#endif
