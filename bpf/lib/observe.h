/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is seen from outside: a count per reason and direction for every packet, a record for drops and verdicts. The reader
 * of the ring is not woken for each record (5-11 us a packet): it polls, and is woken when a quarter is full. */
#ifndef TANDEM_LIB_OBSERVE_H
#define TANDEM_LIB_OBSERVE_H

#include <tandem/maps.h>
#include "context.h"

/* A type that only locals have leaves no BTF; this names struct event, so that its codec can be generated. */
const struct event *const volatile event_layout = NULL;

#define NO_GROUP 0xffff

static __always_inline void count_bytes(__u32 bytes, __u32 reason, __u32 direction)
{
	__u32 index = reason << 1 | direction;
	struct metrics_value *value = bpf_map_lookup_elem(&metrics, &index);

	if (!value)
		return;
	value->packets++;
	value->bytes += bytes;
}

static __always_inline void count(struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	count_bytes(skb->len, reason, direction);
}

/* Makes context->seen an event about context->packet. */
STEP emit(struct __sk_buff *skb)
{
	struct context *context = current_context();
	const struct packet *packet;
	const struct sighting *seen;
	struct event *event;
	__u64 waiting;

	if (!context)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__u32 zero = 0;
		__u64 *lost = bpf_map_lookup_elem(&events_lost, &zero);

		if (lost)
			*lost += 1;
		return 0;
	}
	packet = &context->packet;
	seen = &context->seen;
	event->time = clock_ns();
	event->type = seen->type;
	event->reason = seen->reason;
	event->direction = seen->direction;
	event->flags = seen->flags | (skb->protocol == bpf_htons(ETH_P_IPV6) ? EVENT_IPV6 : 0);
	event->group = seen->group;
	event->source_identity = seen->source_identity;
	event->destination_identity = seen->destination_identity;
	event->endpoint = seen->endpoint;
	event->policy_set = seen->policy_set;
	event->ifindex = skb->ifindex;
	event->length = skb->len;
	event->protocol = packet->protocol;
	event->source = packet->source;
	event->destination = packet->destination;
	if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6) {
		event->source_port = 0;
		event->destination_port = bpf_htons(packet->icmp_type << 8 | packet->icmp_code);
	} else {
		event->source_port = packet->source_port;
		event->destination_port = packet->destination_port;
	}
	event->pad = 0;
	waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	bpf_ringbuf_submit(event, waiting >= LIMIT_EVENT_RING / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	return 0;
}

/* At most settings.drop_events_per_second records of drops per CPU; the counters hold all of them. */
static __always_inline bool may_report_drop(__u32 now)
{
	__u32 zero = 0;
	struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct drop_budget *budget;

	if (!set || !set->drop_events_per_second)
		return true;
	budget = bpf_map_lookup_elem(&drop_budget, &zero);
	if (!budget)
		return false;
	if (budget->second != now) {
		budget->second = now;
		budget->used = 0;
	}
	return budget->used++ < set->drop_events_per_second;
}

/* The end of a dropped packet: counted, reported, gone. `endpoint`: the pod that it came from or was for, NULL if none. */
static __always_inline int drop(struct __sk_buff *skb, struct context *context, __u32 reason, __u32 direction,
				const struct endpoint *endpoint)
{
	/* by whose policy: where both ends are here that is not told by where the packet was seen */
	if (reason == REASON_POLICY || reason == REASON_POLICY_DENY)
		direction = context->how & JUDGE_INGRESS ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	count(skb, reason, direction);
	/* policy drops were reported with their group and identities where the verdict was made; that no proxy is there is found later */
	if (reason != REASON_POLICY && reason != REASON_POLICY_DENY &&
	    (reason != REASON_PROXY_MISSING || (has_proxy(context->packet.protocol) && endpoint)) && may_report_drop(context->now)) {
		struct sighting *seen = &context->seen;

		__builtin_memset(seen, 0, sizeof(*seen));
		seen->type = EVENT_DROP;
		seen->reason = reason;
		seen->direction = direction;
		seen->group = NO_GROUP;
		seen->endpoint = endpoint ? endpoint->id : 0;
		emit(skb);
	}
	return TC_ACT_SHOT;
}

#endif
