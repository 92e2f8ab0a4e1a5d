/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors about what was sent under another name: they go to who sent it, and speak of the names that he knows (RFC 5508 4.2). So path MTU
 * discovery works through masquerading and services. */
#ifndef TANDEM_LIB_RENAMING_ICMP_H
#define TANDEM_LIB_RENAMING_ICMP_H

#include "icmp.h"
#include "renaming.h"

/* context->related: RELATED, and then the error is on its way to who must know. The packet inside is one that left under the name that
 * answers are sent to: what answers to it leads to its sender. */
static __always_inline __u32 relate_renamed(struct __sk_buff *skb, struct context *context, const bool v6)
{
	struct packet *outer = &context->packet, *inner = &context->inner;
	struct renaming *to = &context->renaming;
	struct nat_state *state;
	bool from_peer;

	if (!parse_inner(skb, outer, inner, v6) || !same_address(&inner->source, &outer->destination, v6))
		return UNRELATED;
	nat_key_of_answer(&context->nat_key, inner, v6);
	state = nat_find(&context->nat_key, to, v6);
	if (!state)
		return UNRELATED;
	from_peer = same_address(&outer->source, &inner->destination, v6);
	if (!rename_inner(skb, v6))
		return BROKEN;
	if (from_peer && rewrite(skb, outer, NAT_SOURCE, &to->source, 0, v6))
		return BROKEN;
	return RELATED;
}

STEP relate_renamed4(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->related = relate_renamed(skb, context, false);
	return 0;
}

STEP relate_renamed6(struct __sk_buff *skb)
{
	struct context *context = current_context();

	if (context)
		context->related = relate_renamed(skb, context, true);
	return 0;
}

static __always_inline bool follows_renamed(struct __sk_buff *skb, struct context *context, const bool v6)
{
	if (v6)
		relate_renamed6(skb);
	else
		relate_renamed4(skb);
	if (context->related == BROKEN)
		context->reason = REASON_NAT_FAILED;
	return context->related == RELATED;
}

#endif
