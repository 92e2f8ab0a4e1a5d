/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef TANDEM_LIB_CLOCK_H
#define TANDEM_LIB_CLOCK_H

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Whether this kernel has a helper is settled when an object is loaded (CO-RE); the verifier never sees what it lacks. */
enum bpf_func_id___tandem {
	BPF_FUNC_ktime_get_coarse_ns___tandem = 160,
	BPF_FUNC_set_retval___tandem = 187,
};

static __always_inline __u64 clock_ns(void)
{
	return bpf_ktime_get_ns();
}

/* Seconds of CLOCK_MONOTONIC, a tick (1-10 ms) late at most: 5 ns where bpf_ktime_get_ns takes 31 (5.11+). */
static __always_inline __u32 now_seconds(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id___tandem, BPF_FUNC_ktime_get_coarse_ns___tandem))
		return bpf_ktime_get_coarse_ns() / 1000000000;
	return bpf_ktime_get_ns() / 1000000000;
}

#endif
