/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A driver for benchmarks. BPF_PROG_TEST_RUN runs a program again and again on one packet that keeps its changes (a hop less, another
 * destination); this driver makes the packet new each time, of the next flow in turn, and goes on to the program that is measured. What
 * the driver itself costs is known from a run that goes on to `nothing`. Included behind the programs of an object. */
#ifndef TANDEM_BENCH_ROTATE_H
#define TANDEM_BENCH_ROTATE_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ROTATE_HEADERS 64 /* written to the packet each time */

struct rotation {
	__u32 program;	   /* index in `rotated` */
	__u32 port_offset; /* of the port that counts the flows, in `headers` */
	__u32 mask;	   /* flows - 1 */
	__u32 next;	   /* flow */
	__u8 headers[ROTATE_HEADERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct rotation);
	__uint(max_entries, 1);
} rotation SEC(".maps");

SEC("tc")
int nothing(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_OK;
}

/* The same for a program of a driver (XDP). */
SEC("xdp")
int pass_by(struct xdp_md *xdp)
{
	(void)xdp;
	return XDP_PASS;
}

#define ROTATE_WIRE(first)                                                                                             \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 2);                                                                                \
		__uint(key_size, sizeof(__u32));                                                                       \
		__array(values, int(struct xdp_md *));                                                                 \
	} rotated SEC(".maps") = {.values = {(void *)&pass_by, (void *)&first}};                                       \
                                                                                                                       \
	SEC("xdp")                                                                                                     \
	int rotate(struct xdp_md *xdp)                                                                                 \
	{                                                                                                              \
		void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;                              \
		__u32 zero = 0;                                                                                        \
		struct rotation *r = bpf_map_lookup_elem(&rotation, &zero);                                            \
		__u32 at;                                                                                              \
                                                                                                                       \
		if (!r || data + ROTATE_HEADERS > end)                                                                 \
			return XDP_ABORTED;                                                                            \
		at = r->port_offset;                                                                                   \
		if (at > ROTATE_HEADERS - 2)                                                                           \
			return XDP_ABORTED;                                                                            \
		*(__be16 *)&r->headers[at] = bpf_htons(r->next++ & r->mask);                                           \
		__builtin_memcpy(data, r->headers, ROTATE_HEADERS);                                                    \
		bpf_tail_call(xdp, &rotated, r->program);                                                              \
		return XDP_ABORTED;                                                                                    \
	}

#define ROTATE(first, second)                                                                                          \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 3);                                                                                \
		__uint(key_size, sizeof(__u32));                                                                       \
		__array(values, int(struct __sk_buff *));                                                              \
	} rotated SEC(".maps") = {.values = {(void *)&nothing, (void *)&first, (void *)&second}};                     \
                                                                                                                       \
	SEC("tc")                                                                                                      \
	int rotate(struct __sk_buff *skb)                                                                              \
	{                                                                                                              \
		__u32 zero = 0;                                                                                        \
		struct rotation *r = bpf_map_lookup_elem(&rotation, &zero);                                            \
		__u32 at;                                                                                              \
                                                                                                                       \
		if (!r)                                                                                                \
			return TC_ACT_SHOT;                                                                            \
		at = r->port_offset;                                                                                   \
		if (at > ROTATE_HEADERS - 2)                                                                           \
			return TC_ACT_SHOT;                                                                            \
		*(__be16 *)&r->headers[at] = bpf_htons(r->next++ & r->mask);                                           \
		if (bpf_skb_store_bytes(skb, 0, r->headers, ROTATE_HEADERS, 0))                                        \
			return TC_ACT_SHOT;                                                                            \
		skb->mark = 0;                                                                                         \
		bpf_tail_call(skb, &rotated, r->program);                                                              \
		return TC_ACT_SHOT;                                                                                    \
	}

#endif
