/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is seen from outside: a count per reason and direction for every packet, a record for drops and verdicts. The reader
 * of the ring is not woken for each record (5-11 us a packet): it polls, and is woken when a quarter is full. */
#ifndef TANDEM_LIB_OBSERVE_H
#define TANDEM_LIB_OBSERVE_H

#include <tandem/maps.h>
#include "packet.h"

/* A type that only locals have leaves no BTF; this names struct event, so that its codec can be generated. */
const struct event *const volatile event_layout = NULL;

static __always_inline __u64 clock_ns(void)
{
	return bpf_ktime_get_ns();
}

static __always_inline void count(struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	__u32 index = reason << 1 | direction;
	struct metrics_value *value = bpf_map_lookup_elem(&metrics, &index);

	if (!value)
		return;
	value->packets++;
	value->bytes += skb->len;
}

struct sighting {
	__u8 type; /* enum event_type */
	__u8 reason;
	__u8 direction;
	__u16 flags;
	__u16 group;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 endpoint;
	__u32 policy_set;
};

static __noinline void emit(struct __sk_buff *skb, const struct packet *packet, const struct sighting *seen)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__u64 waiting;

	if (!event) {
		__u32 zero = 0;
		__u64 *lost = bpf_map_lookup_elem(&events_lost, &zero);

		if (lost)
			*lost += 1;
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time = clock_ns();
	event->type = seen->type;
	event->reason = seen->reason;
	event->direction = seen->direction;
	event->flags = seen->flags;
	event->group = seen->group;
	event->source_identity = seen->source_identity;
	event->destination_identity = seen->destination_identity;
	event->endpoint = seen->endpoint;
	event->policy_set = seen->policy_set;
	event->ifindex = skb->ifindex;
	event->length = skb->len;
	if (packet) {
		event->protocol = packet->protocol;
		event->source = packet->source;
		event->destination = packet->destination;
		event->source_port = packet->source_port;
		event->destination_port = packet->destination_port;
	}
	waiting = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	bpf_ringbuf_submit(event, waiting >= LIMIT_EVENT_RING / 4 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/* At most settings.drop_events_per_second records of drops per CPU; the counters hold all of them. */
static __always_inline bool may_report_drop(void)
{
	__u32 zero = 0;
	struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	struct drop_budget *budget;
	__u32 second;

	if (!set || !set->drop_events_per_second)
		return true;
	budget = bpf_map_lookup_elem(&drop_budget, &zero);
	if (!budget)
		return false;
	second = clock_ns() / 1000000000;
	if (budget->second != second) {
		budget->second = second;
		budget->used = 0;
	}
	return budget->used++ < set->drop_events_per_second;
}

/* The end of a dropped packet: counted, reported, gone. */
static __always_inline int drop(struct __sk_buff *skb, const struct packet *packet, __u32 reason, __u32 direction,
				const struct endpoint *endpoint)
{
	count(skb, reason, direction);
	/* policy drops were reported with their group and identities where the verdict was made */
	if (reason != REASON_POLICY && reason != REASON_POLICY_DENY && reason != REASON_PROXY_MISSING &&
	    may_report_drop()) {
		struct sighting seen = {
			.type = EVENT_DROP,
			.reason = reason,
			.direction = direction,
			.group = 0xffff,
			.endpoint = endpoint ? endpoint->id : 0,
		};

		emit(skb, packet, &seen);
	}
	return TC_ACT_SHOT;
}

#endif
