/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Flows: one entry each, under the sorted tuple, so that one lookup serves both directions. The verdict of each end that
 * lives here is kept with the policy revision at which it was given. */
#ifndef TANDEM_LIB_CONNTRACK_H
#define TANDEM_LIB_CONNTRACK_H

#include <tandem/config.h>
#include <tandem/maps.h>
#include "context.h"
#include "flow_state.h"
#include "masquerade.h"
#include "policy.h"

/* Fills the key; true if the packet's source is the low end. */
static __always_inline bool ct_key_of(const struct packet *packet, union ct_key *key, const bool v6)
{
	const struct address *s = &packet->source, *d = &packet->destination;
	bool low;

	if (v6) {
		const __be64 *a = (const __be64 *)s->bytes, *b = (const __be64 *)d->bytes;

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
		*(__u32 *)&key->v6.protocol = packet->protocol; /* and the padding */
	} else {
		__be32 a = *ipv4_of((struct address *)s), b = *ipv4_of((struct address *)d);

		if (a != b)
			low = bpf_ntohl(a) < bpf_ntohl(b);
		else
			low = bpf_ntohs(packet->source_port) <= bpf_ntohs(packet->destination_port);
		key->v4.low_address = low ? a : b;
		key->v4.high_address = low ? b : a;
		key->v4.low_port = low ? packet->source_port : packet->destination_port;
		key->v4.high_port = low ? packet->destination_port : packet->source_port;
		*(__u32 *)&key->v4.protocol = packet->protocol;
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

/* The entry of the packet's tuple, of a flow or of a service's choice; context->key and source_low are set. */
static __always_inline struct ct_entry *look_up_flow(struct context *context, const bool v6)
{
	struct ct_entry *entry;

	context->source_low = ct_key_of(&context->packet, &context->key, v6);
	entry = ct_find(&context->key, v6);
	context->has_entry = entry != NULL;
	return entry;
}

/* Another CPU may have written a second that is not here yet: that is young. */
static __always_inline bool is_expired(const struct ct_entry *entry, __u8 protocol, __u32 now)
{
	return now > entry->last_used && now - entry->last_used > flow_timeout(entry->flags, protocol);
}

static __always_inline bool is_initiator_source(const struct ct_entry *entry, __u32 source_low)
{
	return source_low == !!(entry->flags & CT_INITIATOR_LOW);
}

/* A translated packet whose tuple is another flow's may begin one with another port of its sender's. Not what another node sent along for a service:
 * later packets of that flow come without a word of it. */
static __always_inline bool may_take_other_port(const struct context *context)
{
	return context->translated.flags && (!(context->translated.flags & CT_DSR) || context->scope == SCOPE_OUTSIDE);
}

/* The flow that the packet goes on with; none: it opens one. An entry that is too old counts as absent. So does a connection whose tuple
 * is opened anew (RFC 9293 3.6.1: after a close or a crash), from either side: a verdict for one direction is none for the
 * other, and a SYN is what policy is asked about. context->reason: the tuple is a translated flow's, which this packet is none of. */
static __always_inline struct ct_entry *current_flow(struct context *context, struct ct_entry *entry, bool translates,
						     const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct translation *translated = &context->translated;
	bool reply, opening = is_opening(packet), stranger;

	if (!entry || entry->flags & CT_SERVICE || is_expired(entry, packet->protocol, context->now))
		return NULL;
	reply = !is_initiator_source(entry, context->source_low);
	if (translated->flags)
		stranger = reply || !(entry->flags & CT_NAT) || entry->nat_port != translated->vip_port ||
			   !same_address(&entry->nat_address, &translated->vip, v6);
	else
		stranger = entry->flags & CT_NAT && (reply ? opening : translates && !(entry->flags & CT_DSR));
	/* one that is half closed goes on, and a server that has closed one may not take its tuple again at once */
	if (opening && entry->flags & (CT_RST | CT_FIN_INITIATOR | CT_FIN_RESPONDER) && !(stranger && may_take_other_port(context)))
		return NULL;
	if (stranger) {
		context->reason = REASON_CT_COLLISION;
		return NULL;
	}
	if (opening && (reply || entry->flags & CT_ESTABLISHED))
		return NULL;
	context->tracked.reply = reply;
	return entry;
}

/* The entry is written only when it changes. */
static __always_inline void ct_advance(struct ct_entry *entry, const struct packet *packet, bool reply, __u32 now)
{
	const __u16 flags = next_state(entry->flags, packet, reply);

	if (flags != entry->flags)
		entry->flags = flags;
	if (entry->last_used != now)
		entry->last_used = now;
}

static __always_inline void tell_tracked(struct tracked *out, const struct ct_entry *entry)
{
	out->flags = entry->flags;
	if (entry->flags & CT_NAT) {
		out->nat_port = entry->nat_port;
		out->nat_address = entry->nat_address;
	}
}

/* Judges the ends that live here: context->verdict. */
static __always_inline void judge_ends(struct __sk_buff *skb, struct context *context, __u32 how, const bool v6)
{
	const bool reply = how & JUDGE_REPLY;

	context->verdict = 0;
	context->how = how | (v6 ? JUDGE_IPV6 : 0);
	if (reply ? context->destination.here : context->source.here)
		judge(skb);
	if (!(context->verdict & ~JUDGED_FLAGS) && (reply ? context->source.here : context->destination.here)) {
		context->how |= JUDGE_INGRESS;
		judge(skb);
	}
}

/* Whom the packet has to do with, beside the one end that is here. */
static __always_inline void identify_peer(struct context *context, const bool v6)
{
	if (!context->source.here || !context->destination.here)
		identify(&context->peer, context->source.here ? &context->packet.destination : &context->packet.source, v6);
}

/* The policy of an end is another one than when its verdict was given: packets of both directions are held to it, as the
 * flow's initiator opened it. The entry of what is denied stays as it is, until its time is over: were it forgotten, the other
 * end's next packet would open a flow of its own, and the initiator's would pass as its replies. */
static __always_inline void rejudge(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const bool reply = context->tracked.reply;
	const struct end *initiator = reply ? &context->destination : &context->source;
	const struct end *responder = reply ? &context->source : &context->destination;
	struct ct_entry *entry;

	identify_peer(context, v6);
	judge_ends(skb, context, JUDGE_AGAIN | (reply ? JUDGE_REPLY : 0), v6);
	context->reason = context->verdict & ~JUDGED_FLAGS;
	if (context->reason)
		return;
	entry = ct_find(&context->key, v6);
	if (!entry)
		return;
	ct_advance(entry, &context->packet, reply, context->now);
	if (context->verdict & JUDGED_AUDIT)
		entry->flags |= CT_DENIED_AUDIT;
	else
		entry->flags &= ~CT_DENIED_AUDIT;
	/* never taken back: between the proxy's two connections there are other numbers than at their ends */
	if (context->verdict & JUDGED_PROXY)
		entry->flags |= CT_PROXY;
	context->tracked.flags = entry->flags;
	if (initiator->here)
		entry->egress_revision = initiator->policy_revision;
	if (responder->here)
		entry->ingress_revision = responder->policy_revision;
}

static __always_inline void trace_new_flow(struct __sk_buff *skb, struct context *context)
{
	const struct end *source = &context->source, *destination = &context->destination;
	const struct end *end = source->here ? source : destination;
	struct sighting *seen = &context->seen;

	__builtin_memset(seen, 0, sizeof(*seen));
	seen->type = EVENT_NEW_FLOW;
	seen->direction = source->here ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	seen->flags = EVENT_ALLOWED;
	seen->group = NO_GROUP;
	seen->source_identity = source->here ? source->identity : context->peer.identity;
	seen->destination_identity = destination->here ? destination->identity : context->peer.identity;
	seen->endpoint = end->id;
	seen->policy_set = end->policy_set;
	emit(skb);
}

/* The node's connections are not tracked before it has a policy, so that of one in the middle nobody knows who opened it. True: it must
 * have been the other end, for as the opener's this packet is denied, and as an answer it is allowed. A connection that neither
 * end might open stays denied; and what never was a connection gets a RST from the stack. */
static __always_inline bool is_older_than_policy(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct end *source = &context->source, *destination = &context->destination;
	const struct packet *packet = &context->packet;

	if (source->here == destination->here || (source->here ? source->id : destination->id))
		return false;
	if (packet->protocol != IPPROTO_TCP || packet->tcp_flags & TCP_SYN)
		return false;
	judge_ends(skb, context, JUDGE_QUIETLY, v6);
	if (!(context->verdict & ~JUDGED_FLAGS))
		return false;
	judge_ends(skb, context, JUDGE_QUIETLY | JUDGE_REPLY, v6);
	return !(context->verdict & ~JUDGED_FLAGS);
}

/* The first packet of a flow: who it is with, what policy says, and an entry. */
static __always_inline void open_flow(struct __sk_buff *skb, struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	const struct translation *translated = &context->translated;
	const struct end *source = &context->source, *destination = &context->destination;
	struct ct_entry fresh = {.last_used = context->now, .created = context->now};
	struct settings *set;
	bool reply = false;
	__u32 zero = 0;

	fresh.flags = (context->source_low ? CT_INITIATOR_LOW : 0) | translated->flags;
	identify_peer(context, v6);
	if ((source->here && destination->here) || context->peer.flags & IPCACHE_LOCAL_NODE ||
	    (!source->here && endpoint_at(&packet->source)))
		fresh.flags |= CT_LOCAL;
	if (context->place == AT_STACK && destination->here)
		fresh.flags |= CT_STACK;
	/* what is here does not come in from outside */
	if ((context->place >= AT_NETWORK && fresh.flags & CT_LOCAL) ||
	    (context->place == AT_NETWORK && is_nobody(&packet->source, v6))) {
		context->reason = REASON_SPOOFED_ADDRESS;
		return;
	}
	if (!(translated->flags & CT_LOOPBACK)) {
		reply = is_older_than_policy(skb, context, v6);
		judge_ends(skb, context, reply ? JUDGE_REPLY : 0, v6);
		context->reason = context->verdict & ~JUDGED_FLAGS;
		if (context->reason)
			return;
		if (context->verdict & JUDGED_AUDIT)
			fresh.flags |= CT_DENIED_AUDIT;
		if (context->verdict & JUDGED_PROXY)
			fresh.flags |= CT_PROXY;
	}
	if (source->here)
		*(reply ? &fresh.ingress_revision : &fresh.egress_revision) = source->policy_revision;
	if (destination->here)
		*(reply ? &fresh.egress_revision : &fresh.ingress_revision) = destination->policy_revision;
	if (packet->protocol == IPPROTO_TCP) {
		/* without a SYN it is picked up in the middle: we came later than the connection, or forgot it */
		if (is_opening(packet))
			fresh.flags |= CT_SYN;
		if (reply)
			fresh.flags = (fresh.flags ^ CT_INITIATOR_LOW) | CT_REPLIED;
		if (packet->tcp_flags & TCP_RST)
			fresh.flags |= CT_RST;
		if (packet->tcp_flags & TCP_FIN)
			fresh.flags |= reply ? CT_FIN_RESPONDER : CT_FIN_INITIATOR;
	}
	if (context->place == AT_POD && source->here && !destination->here && !(fresh.flags & CT_LOCAL) &&
	    is_masqueraded(skb, context, v6))
		fresh.flags |= CT_MASQUERADE;
	if (translated->flags) {
		fresh.nat_port = translated->vip_port;
		fresh.nat_id = translated->table;
		fresh.nat_address = translated->vip;
	}
	context->tracked.flags = fresh.flags;
	if (ct_store(&context->key, &fresh, v6)) {
		context->reason = REASON_CT_FULL;
		return;
	}
	set = bpf_map_lookup_elem(&settings, &zero);
	if (set && set->trace)
		trace_new_flow(skb, context);
}

STEP open_flow4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		open_flow(skb, context, false);
	return 0;
}

STEP open_flow6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		open_flow(skb, context, true);
	return 0;
}

STEP rejudge4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		rejudge(skb, context, false);
	return 0;
}

STEP rejudge6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		rejudge(skb, context, true);
	return 0;
}

/* Goes on with `entry` or opens a flow; the ends that live here (NULL: that end does not) are held to their present policy.
 * context->reason: 0 or why the packet must not pass; context->tracked: what the caller must know of the flow. */
static __always_inline void track(struct __sk_buff *skb, struct context *context, struct ct_entry *entry,
				  const struct endpoint *source, const struct endpoint *destination,
				  const enum place place, const bool v6)
{
	const bool reply = context->tracked.reply;
	bool current = true;

	if (entry && !(entry->flags & CT_LOOPBACK)) {
		if (source)
			current = (reply ? entry->ingress_revision : entry->egress_revision) == source->policy_revision;
		if (destination)
			current &= (reply ? entry->egress_revision : entry->ingress_revision) == destination->policy_revision;
	}
	if (entry) {
		tell_tracked(&context->tracked, entry);
		if (current) {
			ct_advance(entry, &context->packet, reply, context->now);
			return;
		}
	}
	set_ends(context, source, destination);
	context->place = place;
	if (entry && v6)
		rejudge6(skb);
	else if (entry)
		rejudge4(skb);
	else if (v6)
		open_flow6(skb);
	else
		open_flow4(skb);
}

#endif
