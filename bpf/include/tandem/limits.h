/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Default sizes of maps. The agent may set others before loading (settings maps.*), so these bound nothing but a node that
 * says nothing. */
#ifndef TANDEM_LIMITS_H
#define TANDEM_LIMITS_H

#define LIMIT_ENDPOINTS 4096	/* pods of one node */
#define LIMIT_DEVICES 256
#define LIMIT_IPCACHE 262144	/* addresses of pods and nodes of the cluster, per family */
#define LIMIT_CLUSTER_PREFIXES 16384
#define LIMIT_CT4 262144
#define LIMIT_CT6 131072
#define LIMIT_FRAGMENTS 8192
#define LIMIT_POLICY_SETS 16384
#define LIMIT_POLICY_PEERS 262144
#define LIMIT_POLICY_PREFIXES 131072
#define LIMIT_POLICY_PORTS 131072
#define LIMIT_SERVICES 65536
#define LIMIT_NODE_PORTS 65536
#define LIMIT_BACKENDS 524288	/* of 10,000 services with 10 each, by cluster address, load balancer (inside, outside) and node port (the same) */
#define LIMIT_MAGLEV 262144	/* chunks of 128 bytes */
#define LIMIT_SOURCE_RANGES 65536 /* per family; equal lists of services count once */
#define LIMIT_AFFINITY 65536
#define LIMIT_SOCK_REVERSE 131072
#define LIMIT_KERNEL_FLOWS 131072 /* two a flow */
#define LIMIT_NAT4 262144	/* two a flow */
#define LIMIT_NAT6 131072
#define LIMIT_NATIVE_PREFIXES 131072
#define LIMIT_EVENT_RING (1 << 20) /* bytes */

#define LIMIT_EXTENSION_HEADERS 6

#endif
