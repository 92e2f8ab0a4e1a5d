/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Flows: one entry each, under the sorted tuple, so that one lookup serves both directions. The verdict of each end that
 * lives here is kept with the policy revision at which it was given. */
#ifndef TANDEM_LIB_CONNTRACK_H
#define TANDEM_LIB_CONNTRACK_H

#include <tandem/config.h>
#include <tandem/maps.h>
#include "packet.h"
#include "policy.h"

union ct_key {
	struct ct4_key v4;
	struct ct6_key v6;
};

/* What a service did to this packet's destination, to be kept in the flow's entry. */
struct translation {
	struct address vip __attribute__((aligned(8)));
	__be16 vip_port;
	__u16 flags; /* CT_NAT, CT_LOOPBACK or 0 */
	__u32 table;
};

static __always_inline __u32 now_seconds(void)
{
	return clock_ns() / 1000000000;
}

/* Fills the key; true if the packet's source is the low end. */
static __always_inline bool ct_key_of(const struct packet *packet, union ct_key *key, const bool v6)
{
	const struct address *s = &packet->source, *d = &packet->destination;
	bool low;

	if (v6) {
		const __be64 *a = (const __be64 *)s->bytes, *b = (const __be64 *)d->bytes;

		__builtin_memset(&key->v6, 0, sizeof(key->v6));
		if (a[0] != b[0])
			low = bpf_be64_to_cpu(a[0]) < bpf_be64_to_cpu(b[0]);
		else if (a[1] != b[1])
			low = bpf_be64_to_cpu(a[1]) < bpf_be64_to_cpu(b[1]);
		else
			low = bpf_ntohs(packet->source_port) <= bpf_ntohs(packet->destination_port);
		key->v6.low_address = low ? *s : *d;
		key->v6.high_address = low ? *d : *s;
		key->v6.low_port = low ? packet->source_port : packet->destination_port;
		key->v6.high_port = low ? packet->destination_port : packet->source_port;
		key->v6.protocol = packet->protocol;
	} else {
		__be32 a = *ipv4_of((struct address *)s), b = *ipv4_of((struct address *)d);

		__builtin_memset(&key->v4, 0, sizeof(key->v4));
		if (a != b)
			low = bpf_ntohl(a) < bpf_ntohl(b);
		else
			low = bpf_ntohs(packet->source_port) <= bpf_ntohs(packet->destination_port);
		key->v4.low_address = low ? a : b;
		key->v4.high_address = low ? b : a;
		key->v4.low_port = low ? packet->source_port : packet->destination_port;
		key->v4.high_port = low ? packet->destination_port : packet->source_port;
		key->v4.protocol = packet->protocol;
	}
	return low;
}

static __always_inline struct ct_entry *ct_find(const union ct_key *key, const bool v6)
{
	return v6 ? bpf_map_lookup_elem(&ct6, &key->v6) : bpf_map_lookup_elem(&ct4, &key->v4);
}

static __always_inline long ct_store(const union ct_key *key, const struct ct_entry *entry, const bool v6)
{
	return v6 ? bpf_map_update_elem(&ct6, &key->v6, entry, BPF_ANY) : bpf_map_update_elem(&ct4, &key->v4, entry, BPF_ANY);
}

static __always_inline void ct_forget(const union ct_key *key, const bool v6)
{
	if (v6)
		bpf_map_delete_elem(&ct6, &key->v6);
	else
		bpf_map_delete_elem(&ct4, &key->v4);
}

static __always_inline __u32 ct_timeout(const struct ct_entry *entry, __u8 protocol)
{
	if (protocol == IPPROTO_TCP) {
		if (entry->flags & CT_RST || (entry->flags & CT_FIN_INITIATOR && entry->flags & CT_FIN_RESPONDER))
			return config_timeout_tcp_closing;
		return entry->flags & CT_ESTABLISHED ? config_timeout_tcp_established : config_timeout_tcp_opening;
	}
	if (protocol == IPPROTO_UDP)
		return entry->flags & CT_REPLIED ? config_timeout_udp_replied : config_timeout_udp_unreplied;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return config_timeout_icmp;
	return config_timeout_other;
}

/* An entry that is too old, or of a closed connection whose tuple opens anew, counts as absent. */
static __always_inline bool ct_is_stale(const struct ct_entry *entry, const struct packet *packet, __u32 now)
{
	if (packet->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	    entry->flags & (CT_RST | CT_FIN_INITIATOR | CT_FIN_RESPONDER))
		return true;
	return now - entry->last_used > ct_timeout(entry, packet->protocol) && now > entry->last_used;
}

/* What this packet tells of the flow's state; the entry is written only when it changes. */
static __always_inline void ct_advance(struct ct_entry *entry, const struct packet *packet, bool reply, __u32 now)
{
	__u16 flags = entry->flags;

	if (reply)
		flags |= CT_REPLIED;
	if (packet->protocol == IPPROTO_TCP) {
		if (packet->tcp_flags & TCP_RST)
			flags |= CT_RST;
		if (packet->tcp_flags & TCP_FIN)
			flags |= reply ? CT_FIN_RESPONDER : CT_FIN_INITIATOR;
		if (!reply && flags & CT_REPLIED && packet->tcp_flags & TCP_ACK)
			flags |= CT_ESTABLISHED;
	}
	if (flags != entry->flags)
		entry->flags = flags;
	if (entry->last_used != now)
		entry->last_used = now;
}

/* What conntrack knows of the packet's flow. */
struct tracked {
	struct address nat_address __attribute__((aligned(8)));
	__be16 nat_port;
	__u16 flags; /* of the entry: CT_NAT, CT_LOOPBACK matter to the caller */
	__u32 reply;
};

/* All that is known of the packet at hand. */
struct context {
	struct packet packet;
	struct translation translated;
	struct tracked tracked;
};

/* It lives in a map, not on the stack: frames stay below the 512 bytes that a call chain has, and the verifier, which does
 * not follow what is stored in a map, need not walk the rest of the program once for every shape of headers (6.1 gave up
 * at a million instructions). A tc program is not interrupted by another one on its CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct context);
	__uint(max_entries, 1);
} scratch SEC(".maps");

static __always_inline struct context *begin(__u32 l3)
{
	__u32 zero = 0;
	struct context *context = bpf_map_lookup_elem(&scratch, &zero);

	if (context) {
		__builtin_memset(context, 0, sizeof(*context));
		context->packet.l3 = l3;
	}
	return context;
}

/* Finds or opens the flow of a packet and judges the ends that live here (NULL: that end does not). Packets of both
 * directions are held to the current policy of the flow as its initiator opened it; what is denied is forgotten, so that
 * replies stop as well. Reason 0 or why the packet must not pass. */
static __always_inline __u32 track(struct __sk_buff *skb, struct context *context, const struct endpoint *source,
				   const struct endpoint *destination, const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct translation *translated = &context->translated;
	struct tracked *out = &context->tracked;
	union ct_key key;
	bool source_low = ct_key_of(packet, &key, v6), reply = false;
	struct ct_entry *entry = ct_find(&key, v6);
	const struct endpoint *initiator, *responder;
	__u32 now = now_seconds(), reason;
	bool loopback = translated->flags & CT_LOOPBACK;
	__u32 how;

	if (entry && (ct_is_stale(entry, packet, now) || entry->flags & CT_SERVICE))
		entry = NULL;
	if (entry) {
		reply = source_low != !!(entry->flags & CT_INITIATOR_LOW);
		loopback |= !!(entry->flags & CT_LOOPBACK);
		if (translated->flags && (!(entry->flags & CT_NAT) || entry->nat_port != translated->vip_port ||
					  !same_address(&entry->nat_address, &translated->vip, v6)))
			return REASON_CT_COLLISION;
	}
	initiator = reply ? destination : source;
	responder = reply ? source : destination;

	if (!loopback && ((initiator && (!entry || entry->egress_revision != initiator->policy_revision)) ||
			  (responder && (!entry || entry->ingress_revision != responder->policy_revision)))) {
		how = (reply ? JUDGE_REPLY : 0) | (v6 ? JUDGE_IPV6 : 0);
		reason = 0;
		if (initiator)
			reason = judge(skb, packet, initiator, how);
		if (!reason && responder)
			reason = judge(skb, packet, responder, how | JUDGE_INGRESS);
		if (reason) {
			if (entry)
				ct_forget(&key, v6);
			return reason;
		}
		if (entry) {
			if (initiator)
				entry->egress_revision = initiator->policy_revision;
			if (responder)
				entry->ingress_revision = responder->policy_revision;
		}
	}
	out->reply = reply;
	if (entry) {
		ct_advance(entry, packet, reply, now);
		out->flags = entry->flags;
		out->nat_port = entry->nat_port;
		if (entry->flags & CT_NAT)
			out->nat_address = entry->nat_address;
		return 0;
	}

	struct ct_entry fresh = {
		.last_used = now,
		.created = now,
		.egress_revision = initiator ? initiator->policy_revision : 0,
		.ingress_revision = responder ? responder->policy_revision : 0,
		.flags = (source_low ? CT_INITIATOR_LOW : 0) | translated->flags,
		.nat_port = translated->vip_port,
		.nat_id = translated->table,
	};

	if (packet->protocol == IPPROTO_TCP) {
		if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			fresh.flags |= CT_SYN;
		else /* picked up in the middle: the agent was installed under a running connection */
			fresh.flags |= CT_ESTABLISHED;
		if (packet->tcp_flags & TCP_RST)
			fresh.flags |= CT_RST;
	}
	if (translated->flags)
		fresh.nat_address = translated->vip;
	out->flags = fresh.flags;
	if (ct_store(&key, &fresh, v6))
		return REASON_CT_FULL;
	return 0;
}

static __noinline __u32 track4(struct __sk_buff *skb, struct context *context, const struct endpoint *source,
			       const struct endpoint *destination)
{
	return track(skb, context, source, destination, false);
}

static __noinline __u32 track6(struct __sk_buff *skb, struct context *context, const struct endpoint *source,
			       const struct endpoint *destination)
{
	return track(skb, context, source, destination, true);
}

#endif
