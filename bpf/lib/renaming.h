/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Flows whose source this node replaces: masqueraded ones, and those of clients outside to a service's backend on another node. A packet's
 * tuple leads to the one that it gets, in either direction (maps nat4, nat6). */
#ifndef TANDEM_LIB_RENAMING_H
#define TANDEM_LIB_RENAMING_H

#include <tandem/maps.h>
#include "context.h"
#include "flow_state.h"
#include "link_local.h"
#include "nat.h"

/* The last fields of both entries, which are alike. */
struct nat_state {
	__u16 flags;
	__u16 pad;
	__u32 last_used;
	__u32 table;
};
_Static_assert(offsetof(struct nat4_entry, flags) + sizeof(struct nat_state) == sizeof(struct nat4_entry), "nat4_entry ends so");
_Static_assert(offsetof(struct nat6_entry, flags) + sizeof(struct nat_state) == sizeof(struct nat6_entry), "nat6_entry ends so");

static __always_inline void nat_key_of(union nat_key *key, const struct packet *packet, const bool v6)
{
	if (v6) {
		key->v6.source = packet->source;
		key->v6.destination = packet->destination;
		key->v6.source_port = packet->source_port;
		key->v6.destination_port = packet->destination_port;
		*(__u32 *)&key->v6.protocol = packet->protocol; /* and the padding */
	} else {
		key->v4.source = *ipv4_of((struct address *)&packet->source);
		key->v4.destination = *ipv4_of((struct address *)&packet->destination);
		key->v4.source_port = packet->source_port;
		key->v4.destination_port = packet->destination_port;
		*(__u32 *)&key->v4.protocol = packet->protocol;
	}
}

/* The key of what answers to a packet that was renamed like this. */
static __always_inline void nat_key_back(union nat_key *key, const struct renaming *to, __u8 protocol, const bool v6)
{
	if (v6) {
		key->v6.source = to->destination;
		key->v6.destination = to->source;
		key->v6.source_port = to->destination_port;
		key->v6.destination_port = to->source_port;
		*(__u32 *)&key->v6.protocol = protocol;
	} else {
		key->v4.source = *ipv4_of((struct address *)&to->destination);
		key->v4.destination = *ipv4_of((struct address *)&to->source);
		key->v4.source_port = to->destination_port;
		key->v4.destination_port = to->source_port;
		*(__u32 *)&key->v4.protocol = protocol;
	}
}

/* The key of what answers to `packet`, as it is. */
static __always_inline void nat_key_of_answer(union nat_key *key, const struct packet *packet, const bool v6)
{
	struct renaming same = {.source_port = packet->source_port, .destination_port = packet->destination_port};

	same.source = packet->source;
	same.destination = packet->destination;
	nat_key_back(key, &same, packet->protocol, v6);
}

/* The state of the entry under the key, NULL: there is none. `to` (if given): the tuple that it leads to. */
static __always_inline struct nat_state *nat_find(const union nat_key *key, struct renaming *to, const bool v6)
{
	if (v6) {
		struct nat6_entry *entry = bpf_map_lookup_elem(&nat6, &key->v6);

		if (!entry)
			return NULL;
		if (to) {
			to->source = entry->source;
			to->destination = entry->destination;
			to->source_port = entry->source_port;
			to->destination_port = entry->destination_port;
		}
		return (struct nat_state *)&entry->flags;
	} else {
		struct nat4_entry *entry = bpf_map_lookup_elem(&nat4, &key->v4);

		if (!entry)
			return NULL;
		if (to) {
			set_ipv4(&to->source, entry->source);
			set_ipv4(&to->destination, entry->destination);
			to->source_port = entry->source_port;
			to->destination_port = entry->destination_port;
		}
		return (struct nat_state *)&entry->flags;
	}
}

#define ERROR_EXISTS (-17) /* EEXIST */

/* Of a client whose own port is taken. Servers may want clients below 1024, as those of NFS do. */
static __always_inline __be16 another_port(__be16 port)
{
	const __u32 chance = bpf_get_prandom_u32();

	return bpf_htons(bpf_ntohs(port) < 1024 ? 600 + chance % 424 : 1024 + chance % 64512);
}

enum claim { CLAIM_GRANTED, CLAIM_TAKEN, CLAIM_NO_ROOM };

/* 0 or an error, as bpf_map_update_elem with BPF_NOEXIST. */
static __always_inline long nat_store(const union nat_key *key, const struct renaming *to, __u32 flags, __u32 now, const bool v6)
{
	if (v6) {
		struct nat6_entry entry = {.flags = flags, .last_used = now, .table = to->table};

		entry.source = to->source;
		entry.destination = to->destination;
		entry.source_port = to->source_port;
		entry.destination_port = to->destination_port;
		return bpf_map_update_elem(&nat6, &key->v6, &entry, BPF_NOEXIST);
	} else {
		struct nat4_entry entry = {.flags = flags, .last_used = now, .table = to->table};

		entry.source = *ipv4_of((struct address *)&to->source);
		entry.destination = *ipv4_of((struct address *)&to->destination);
		entry.source_port = to->source_port;
		entry.destination_port = to->destination_port;
		return bpf_map_update_elem(&nat4, &key->v4, &entry, BPF_NOEXIST);
	}
}

static __always_inline void nat_delete(const union nat_key *key, const bool v6)
{
	if (v6)
		bpf_map_delete_elem(&nat6, &key->v6);
	else
		bpf_map_delete_elem(&nat4, &key->v4);
}

/* context->renamed: the packet's tuple becomes context->renaming. An answer that comes too late is none; what its initiator sends revives
 * the flow: the port is still its own. */
static __always_inline void find_renaming(struct context *context, const bool v6)
{
	const struct packet *packet = &context->packet;
	struct renaming *to = &context->renaming;
	struct nat_state *state, *flow;
	bool reply;
	__u16 flags;

	context->renamed = 0;
	nat_key_of(&context->nat_key, packet, v6);
	state = nat_find(&context->nat_key, to, v6);
	if (!state)
		return;
	flow = state;
	reply = state->flags & NAT_BACK;
	if (reply) {
		nat_key_back(&context->nat_key, to, packet->protocol, v6);
		flow = nat_find(&context->nat_key, NULL, v6);
		if (!flow || flow->flags & NAT_BACK)
			return;
		if (context->now > flow->last_used &&
		    context->now - flow->last_used > flow_timeout(flow->flags, packet->protocol))
			return;
	}
	flags = flow->flags;
	if (!reply && is_opening(packet)) /* anew, after it was closed or given up (RFC 9293 3.6.1) */
		flags &= NAT_BACK | NAT_SERVICE;
	flags = next_state(flags, packet, reply);
	if (flags != flow->flags)
		flow->flags = flags;
	if (flow->last_used != context->now)
		flow->last_used = context->now;
	to->flags = state->flags;
	to->table = flow->table;
	context->renamed = 1;
}

STEP find_renaming4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	asm volatile("" ::"r"(skb)); /* see borrow_ports */
	if (context)
		find_renaming(context, false);
	return 0;
}

STEP find_renaming6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	asm volatile("" ::"r"(skb));
	if (context)
		find_renaming(context, true);
	return 0;
}

static __always_inline bool is_renamed(struct __sk_buff *skb, const struct context *context, const bool v6)
{
	if (v6)
		find_renaming6(skb);
	else
		find_renaming4(skb);
	return context->renamed;
}

/* The source becomes the node's address on that device. False: it has none. */
static __always_inline bool take_address_of(struct renaming *to, __u32 ifindex, const bool v6)
{
	struct device_key key = {.ifindex = ifindex};
	struct device_address *own = bpf_map_lookup_elem(&device_address, &key);

	if (!own || (v6 ? is_unspecified(&own->ipv6) : !own->ipv4))
		return false;
	if (v6)
		to->source = own->ipv6;
	else
		set_ipv4(&to->source, own->ipv4);
	return true;
}

static __always_inline bool is_echo(const struct packet *packet, const bool v6)
{
	const __u8 request = v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO, reply = v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;

	return is_icmp(packet->protocol, v6) && (packet->icmp_type == request || packet->icmp_type == reply);
}

/* The identifier of an echo request or reply. */
static __always_inline __u32 rewrite_echo(struct __sk_buff *skb, struct packet *packet, __be16 *current, __be16 id)
{
	if (id == *current || packet->flags & PACKET_LATER_FRAGMENT)
		return 0;
	/* icmp6hdr has both at the same place */
	if (bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct icmphdr, checksum), *current, id, 2) ||
	    bpf_skb_store_bytes(skb, packet->l4 + offsetof(struct icmphdr, un.echo.id), &id, 2, 0))
		return REASON_NAT_FAILED;
	*current = id;
	return 0;
}

/* The packet gets the tuple of context->renaming. */
static __always_inline __u32 rename_packet(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet;
	const struct renaming *to = &context->renaming;

	if (is_echo(packet, v6)) {
		const bool request = packet->icmp_type == (v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO);
		__u32 reason = request ? rewrite_echo(skb, packet, &packet->source_port, to->source_port)
				       : rewrite_echo(skb, packet, &packet->destination_port, to->destination_port);

		if (reason)
			return reason;
	}
	if (!same_address(&packet->source, &to->source, v6) || packet->source_port != to->source_port) {
		if (rewrite(skb, packet, NAT_SOURCE, &to->source, to->source_port, v6))
			return REASON_NAT_FAILED;
	}
	if (!same_address(&packet->destination, &to->destination, v6) || packet->destination_port != to->destination_port)
		return rewrite(skb, packet, NAT_DESTINATION, &to->destination, to->destination_port, v6);
	return 0;
}

STEP rename_packet4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = rename_packet(skb, context, false);
	return 0;
}

STEP rename_packet6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = rename_packet(skb, context, true);
	return 0;
}

/* Becomes what context->renaming says; context->reason: it could not. */
static __always_inline void take_name(struct __sk_buff *skb, const bool v6)
{
	if (v6)
		rename_packet6(skb);
	else
		rename_packet4(skb);
}

#endif
