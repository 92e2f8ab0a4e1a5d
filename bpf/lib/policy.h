/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The verdict of one end of a flow: identities, then rule-group bit vectors. Its cost does not grow with rules. */
#ifndef TANDEM_LIB_POLICY_H
#define TANDEM_LIB_POLICY_H

#include <tandem/maps.h>
#include "context.h"
#include "observe.h"

/* context->verdict is a reason, and one of these bits: only audit mode let the packet through; the L7 proxy has to look at the flow. */
#define JUDGED_AUDIT 0x100
#define JUDGED_PROXY 0x200
#define JUDGED_FLAGS (JUDGED_AUDIT | JUDGED_PROXY)

static __always_inline bool is_outside(__u32 identity)
{
	return identity == ID_WORLD || identity == ID_WORLD_IPV4 || identity == ID_WORLD_IPV6;
}

static __always_inline struct policy_bits *prefix_groups(__u32 set_direction, const struct address *peer, bool v6)
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

/* What the lowest group says that is set for a peer: the reason, 0 (allowed) or why not, in the upper half, and the group in the lower one.
 * REASON_POLICY and NO_GROUP if none is; REASON_PROXY_MISSING if it depends on L7 rules. `who` is the protocol << 16 | the port that rules name.
 * A global function of numbers alone: the verifier walks it once, and not for every way in which `judge` comes to it. */
__attribute__((noinline)) __u32 look_up_policy(__u32 set_direction, __u32 identity, __u32 who, bool peer_receives, bool v6)
{
	struct policy_port_key port_key = {.prefixlen = 56, .set_direction = bpf_htonl(set_direction)};
	struct policy_peer_key peer_key = {.set_direction = set_direction, .identity = identity};
	struct policy_bits *ports, *named, *any, *prefix = NULL;
	struct policy_set *set = bpf_map_lookup_elem(&policy_set, &set_direction);
	const __u64 inside = is_outside(identity) ? 0 : ~0ULL;
	struct context *context = current_context();
	__u16 lowest = 0, guards, port = who;
	__u64 bits = 0;
	__u32 group;

	if (!set || !context)
		return REASON_NOT_READY << 16 | NO_GROUP;
	port_key.protocol = who >> 16;
	__builtin_memcpy(port_key.port, &port, sizeof(port_key.port));
	ports = bpf_map_lookup_elem(&policy_port, &port_key);
	if (!ports)
		return REASON_POLICY << 16 | NO_GROUP;
	if (set->flags & (v6 ? POLICY_SET_PREFIX6 : POLICY_SET_PREFIX4))
		prefix = prefix_groups(set_direction, peer_receives ? &context->packet.destination : &context->packet.source, v6);
	named = bpf_map_lookup_elem(&policy_peer, &peer_key);
	peer_key.identity = 0;
	any = bpf_map_lookup_elem(&policy_peer, &peer_key);

#pragma unroll
	for (int word = 0; word < POLICY_WORDS; word++) {
		if (word >= set->words)
			break;
		if (prefix)
			bits = prefix->words[word] & ~(set->outside_only.words[word] & inside);
		if (named)
			bits |= named->words[word];
		if (any)
			bits |= any->words[word];
		bits &= ports->words[word];
		lowest = word * 64;
		if (bits)
			break;
	}
	if (!bits)
		return REASON_POLICY << 16 | NO_GROUP;
	lowest += __builtin_ctzll(bits);
	group = lowest;
	guards = set->flags >> POLICY_SET_GUARDS_SHIFT;
	if (lowest < guards)
		return REASON_FORWARDED << 16 | group;
	lowest -= guards;
	if (lowest < set->denies)
		return REASON_POLICY_DENY << 16 | group;
	if (lowest < set->denies + set->allows)
		return REASON_FORWARDED << 16 | group;
	return REASON_PROXY_MISSING << 16 | group;
}

/* The port that rules name, as the flow's initiator sent it. ICMP: type << 8 | code of the message that opened the flow. */
static __always_inline __be16 ruled_port(const struct packet *packet, bool reply, bool v6)
{
	if (reply)
		return packet->source_port;
	if (is_icmp(packet->protocol, v6) && !(packet->flags & PACKET_LATER_FRAGMENT))
		return bpf_htons(packet->icmp_type << 8 | packet->icmp_code);
	return packet->destination_port;
}

/* Judges one end of a flow that lives here, as the flow's initiator opened it, reports the verdict, and adds it to
 * context->verdict. context->how says which end; context->peer who the other one is if it is not here. */
STEP judge(struct __sk_buff *skb)
{
	struct context *context = current_context();
	const struct packet *packet;
	struct sighting *seen;
	const struct end *end, *other;
	__u32 how, direction, identity, looked_up, reason, flags = 0;
	bool ingress, reply, source, enforced;

	if (!context)
		return 0;
	packet = &context->packet;
	how = context->how;
	ingress = how & JUDGE_INGRESS;
	reply = how & JUDGE_REPLY;
	direction = ingress ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	source = ingress == reply; /* the end that is judged sends this packet */
	end = source ? &context->source : &context->destination;
	other = source ? &context->destination : &context->source;
	enforced = end->flags & (ingress ? ENDPOINT_ENFORCE_INGRESS : ENDPOINT_ENFORCE_EGRESS);
	if (!enforced && !(end->flags & (ingress ? ENDPOINT_POLICY_INGRESS : ENDPOINT_POLICY_EGRESS)))
		return 0;
	identity = other->here ? other->identity : context->peer.identity;
	looked_up = look_up_policy(end->policy_set << 1 | direction, identity,
				   packet->protocol << 16 | ruled_port(packet, reply, how & JUDGE_IPV6), source, how & JUDGE_IPV6);
	reason = looked_up >> 16;
	if (reason == REASON_POLICY && !enforced)
		reason = REASON_FORWARDED;

	seen = &context->seen;
	seen->reason = reason;
	seen->flags = (reply ? EVENT_REPLY : 0) | (reason ? 0 : EVENT_ALLOWED);
	if (reason && end->flags & ENDPOINT_AUDIT) {
		seen->flags |= EVENT_AUDIT | EVENT_ALLOWED;
		reason = REASON_FORWARDED;
		flags = JUDGED_AUDIT;
	} else if (reason == REASON_PROXY_MISSING && has_proxy(packet->protocol) && end->id) { /* the node's own traffic passes no proxy */
		seen->flags |= EVENT_PROXY | EVENT_ALLOWED;
		seen->reason = reason = REASON_FORWARDED;
		flags = JUDGED_PROXY;
	}
	context->verdict |= reason | flags;
	if (how & JUDGE_QUIETLY)
		return 0;
	if (reason ? !may_report_drop(context->now) : how & JUDGE_AGAIN)
		return 0;
	seen->type = reason ? EVENT_DROP : EVENT_VERDICT;
	seen->direction = direction;
	seen->group = looked_up;
	seen->source_identity = source ? end->identity : identity;
	seen->destination_identity = source ? identity : end->identity;
	seen->endpoint = end->id;
	seen->policy_set = end->policy_set;
	emit(skb);
	return 0;
}

#endif
