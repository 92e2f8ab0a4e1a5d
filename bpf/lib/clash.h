/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A client's port may lead to one backend by two services (or by one, beside a flow that it has with the backend itself): both flows would have one
 * tuple. Who comes second gets another port of the client's towards the backend. The address stays, and so does who it is to policy. Which one, nat4 and
 * nat6 know for both directions; the choice (CT_SERVICE) and the flow's entry are marked, so that nobody else's packets ask there. */
#ifndef TANDEM_LIB_CLASH_H
#define TANDEM_LIB_CLASH_H

#include "conntrack.h"
#include "fragment.h"
#include "renaming.h"

/* Hardly any port of a client's is taken with one backend. */
#define CLIENT_PORT_TRIES 64

/* A port by chance for context->renaming, if no flow has it, and the answers' entry: context->claim. */
static __always_inline __u32 claim_client_port(struct context *context, const bool v6)
{
	const struct renaming *arrived = &context->arrived;
	struct renaming *to = &context->renaming;
	struct packet *packet = &context->packet;
	const __be16 own = packet->source_port;
	struct renaming back = {.table = to->table};
	struct ct_entry *entry;
	long result;

	to->source_port = another_port(arrived->source_port);
	packet->source_port = to->source_port;
	entry = look_up_flow(context, v6);
	packet->source_port = own;
	if (entry && !is_expired(entry, packet->protocol, context->now))
		return CLAIM_TAKEN;
	back.source = arrived->destination;
	back.destination = arrived->source;
	back.source_port = arrived->destination_port;
	back.destination_port = arrived->source_port;
	nat_key_back(&context->nat_key, to, packet->protocol, v6);
	result = nat_store(&context->nat_key, &back, NAT_BACK | NAT_SERVICE, context->now, v6);
	if (!result)
		return CLAIM_GRANTED;
	return result == ERROR_EXISTS ? CLAIM_TAKEN : CLAIM_NO_ROOM;
}

STEP claim_client_port4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	asm volatile("" ::"r"(skb)); /* see borrow_ports */
	if (context)
		context->claim = claim_client_port(context, false);
	return 0;
}

STEP claim_client_port6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	asm volatile("" ::"r"(skb));
	if (context)
		context->claim = claim_client_port(context, true);
	return 0;
}

/* What the client had under this tuple before was another flow. */
static __always_inline void forget_renaming(struct context *context, const struct packet *arrived, const bool v6)
{
	struct renaming *to = &context->renaming;
	struct nat_state *state;

	nat_key_of(&context->nat_key, arrived, v6);
	state = nat_find(&context->nat_key, to, v6);
	if (!state || state->flags & NAT_BACK)
		return;
	nat_delete(&context->nat_key, v6);
	nat_key_back(&context->nat_key, to, arrived->protocol, v6);
	nat_delete(&context->nat_key, v6);
}

/* A source port of its own for the packet, which has its backend, in context->renaming: REASON_*. */
static __always_inline __u32 take_other_port(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *packet = &context->packet, *arrived = &context->inner; /* no packet is inside of this one */
	struct translation *done = &context->translated;
	struct renaming *to = &context->renaming;
	struct ct_entry *choice;

	arrived->source = context->arrived.source;
	arrived->destination = context->arrived.destination;
	arrived->source_port = context->arrived.source_port;
	arrived->destination_port = context->arrived.destination_port;
	arrived->protocol = packet->protocol;
	forget_renaming(context, arrived, v6);
	to->source = packet->source;
	to->destination = packet->destination;
	to->destination_port = packet->destination_port;
	to->table = done->table;
	context->claim = CLAIM_TAKEN;
	for (int i = 0; i < CLIENT_PORT_TRIES; i++) {
		if (context->claim != CLAIM_TAKEN)
			break;
		if (v6)
			claim_client_port6(skb);
		else
			claim_client_port4(skb);
	}
	if (context->claim != CLAIM_GRANTED)
		return REASON_NAT_FULL;
	nat_key_of(&context->nat_key, arrived, v6);
	if (nat_store(&context->nat_key, to, next_state(NAT_SERVICE, packet, false), context->now, v6)) {
		nat_key_back(&context->nat_key, to, packet->protocol, v6);
		nat_delete(&context->nat_key, v6);
		return REASON_NAT_FULL;
	}
	ct_key_of(arrived, &context->key, v6);
	choice = ct_find(&context->key, v6);
	if (choice && choice->flags & CT_SERVICE)
		choice->flags |= CT_NAT;
	done->vip_port = 0;
	done->flags &= ~CT_DSR; /* packets that come past this node have the client's own port, and are the other flow's */
	return 0;
}

STEP take_other_port4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = take_other_port(skb, context, false);
	return 0;
}

STEP take_other_port6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->reason = take_other_port(skb, context, true);
	return 0;
}

/* current_flow found the packet's tuple taken (context->reason): it begins a flow with another one, of which there is no entry, or stays refused. */
static __always_inline void settle_clash(struct __sk_buff *skb, struct context *context, const bool v6)
{
	if (!may_take_other_port(context) || (context->packet.protocol == IPPROTO_TCP && !is_opening(&context->packet)))
		return;
	if (v6)
		take_other_port6(skb);
	else
		take_other_port4(skb);
	if (!context->reason)
		take_name(skb, v6);
	if (context->reason)
		return;
	if (context->packet.flags & PACKET_FIRST_FRAGMENT) /* the others have their name before they ask for their ports */
		borrow_ports(skb);
	look_up_flow(context, v6);
}

#endif
