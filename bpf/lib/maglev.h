/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Backends that do not depend on who is asked: where the fabric moves a flow to another node, that node has the same table (the agent computes
 * it from the backends alone) and hashes the client to the same slot of it. */
#ifndef TANDEM_LIB_MAGLEV_H
#define TANDEM_LIB_MAGLEV_H

#include <stdbool.h>
#include <tandem/maps.h>

static __always_inline __u32 rotate_left(__u32 word, __u32 bits)
{
	return word << bits | word >> (32 - bits);
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	return rotate_left(hash ^ rotate_left(word * 0xcc9e2d51, 15) * 0x1b873593, 13) * 5 + 0xe6546b64;
}

/* Murmur3 (32 bits, seed 0) of the client, the service and the salt. The same on every node, for ever: neither the kernel's secrets nor its
 * skb->hash are in it. `salt`: the client's port, 0 where all of a client's flows are to stay together. */
static __noinline __u32 client_hash(const struct affinity_key *client, __u32 salt)
{
	const __u32 *words = (const __u32 *)client;
	__u32 hash = 0;

#pragma unroll
	for (__u32 i = 0; i < sizeof(*client) / 4; i++)
		hash = mix(hash, words[i]);
	hash = mix(hash, salt) ^ (sizeof(*client) + 4);
	hash = (hash ^ hash >> 16) * 0x85ebca6b;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}

/* The slot of service_backend that a hash picks; false: there is none, or this table has just gone. */
static __always_inline bool hashed_slot(const struct service *service, __u32 hash, __u32 *slot)
{
	const __u32 slots = service->flags >> SERVICE_MAGLEV_SHIFT;
	struct maglev_key key = {.service = service->id};
	struct maglev_chunk *chunk;
	__u32 at;

	if (!slots) {
		*slot = (__u64)hash * service->backends >> 32;
		return service->backends;
	}
	at = (__u64)hash * slots >> 32;
	if (service->backends > MAGLEV_NARROW)
		at *= 2;
	key.chunk = at / MAGLEV_CHUNK;
	at %= MAGLEV_CHUNK;
	chunk = bpf_map_lookup_elem(&maglev, &key);
	if (!chunk)
		return false;
	*slot = service->backends > MAGLEV_NARROW ? *(__u16 *)(chunk->slots + (at & ~1U)) : chunk->slots[at];
	return true;
}

#endif
