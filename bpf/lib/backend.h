/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which backend of a service: the one that this client had (sessionAffinity ClientIP, and whatever must not wander while its backend is
 * there), else what a hash of the client says or chance, as the service wants it. Used at the socket and per packet. */
#ifndef TANDEM_LIB_BACKEND_H
#define TANDEM_LIB_BACKEND_H

#include <stdbool.h>
#include <tandem/maps.h>
#include "clock.h"
#include "maglev.h"

/* A table of backends is searched for one that is to be kept up to here; a larger service forgets such choices when it changes. */
#define BACKENDS_SEARCHED 64

static __always_inline bool same_bytes16(const struct address *a, const struct address *b)
{
	const __u32 *x = (const __u32 *)a->bytes, *y = (const __u32 *)b->bytes;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* 0: the first 8 bytes; 1: the others. */
static __always_inline __u64 half_of(const struct address *address, int half)
{
	const __u32 *words = (const __u32 *)address->bytes + 2 * half;

	return (__u64)words[0] << 32 | words[1];
}

/* A global function of numbers alone, the address in two halves: the verifier walks its loop once, and not wherever it is asked. */
__attribute__((noinline)) bool table_has_backend(__u32 table, __u32 backends, __u64 first_half, __u64 second_half, __u32 port)
{
	struct service_backend_key key = {.service = table};

	for (__u32 slot = 0; slot < BACKENDS_SEARCHED && slot < backends; slot++) {
		struct service_backend *backend;

		key.slot = slot;
		backend = bpf_map_lookup_elem(&service_backend, &key);
		if (backend && backend->port == (__be16)port && half_of(&backend->address, 0) == first_half &&
		    half_of(&backend->address, 1) == second_half)
			return true;
	}
	return false;
}

/* The table of `service` has this backend. */
static __always_inline bool has_backend(const struct service *service, const struct address *address, __be16 port)
{
	return table_has_backend(service->id, service->backends, half_of(address, 0), half_of(address, 1), port);
}

static __always_inline struct service_backend *random_backend(const struct service *service)
{
	struct service_backend_key key = {.service = service->id};
	__u32 backends = service->backends;

	if (!backends)
		return NULL;
	key.slot = bpf_get_prandom_u32() % backends;
	return bpf_map_lookup_elem(&service_backend, &key);
}

/* For a new flow of this client. NULL: there is none, or the service has just got another table. */
static __always_inline struct service_backend *new_backend(const struct service *service, const struct affinity_key *client,
							   __u32 salt)
{
	struct service_backend_key key = {.service = service->id};

	if (!(service->flags & SERVICE_HASHED))
		return random_backend(service);
	if (!hashed_slot(service, client_hash(client, salt), &key.slot))
		return NULL;
	return bpf_map_lookup_elem(&service_backend, &key);
}

/* The backend that the key's client had less than `seconds` ago, if the service has it still. */
static __always_inline struct affinity *kept_backend(const struct affinity_key *key, const struct service *service,
						     __u32 seconds, __u32 now)
{
	struct affinity *kept = bpf_map_lookup_elem(&affinity, key);

	if (!kept || (now > kept->last_used && now - kept->last_used > seconds))
		return NULL;
	if (kept->service != service->id) {
		if (!has_backend(service, &kept->address, kept->port))
			return NULL;
		kept->service = service->id;
	}
	if (kept->last_used != now)
		kept->last_used = now;
	return kept;
}

static __always_inline void keep_backend(const struct affinity_key *key, const struct service *service,
					 const struct service_backend *backend, __u32 now)
{
	struct affinity fresh = {.service = service->id, .last_used = now, .port = backend->port};

	fresh.address = backend->address;
	bpf_map_update_elem(&affinity, key, &fresh, BPF_ANY);
}

#endif
