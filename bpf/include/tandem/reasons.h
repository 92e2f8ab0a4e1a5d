/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Why a packet was dropped. One list for kernel, metrics, monitor and docs; numbers are never reused.
 * src/model/reasons.gen.ts is generated from it (the text behind each number is what users see). */
#ifndef TANDEM_REASONS_H
#define TANDEM_REASONS_H

enum reason {
	REASON_FORWARDED = 0,	       /* forwarded */
	REASON_POLICY = 1,	       /* policy: no rule allows it */
	REASON_POLICY_DENY = 2,	       /* policy: a deny rule matches */
	REASON_NOT_READY = 3,	       /* the endpoint's policy is not in the kernel yet */
	REASON_SPOOFED_ADDRESS = 4,    /* source address is not the pod's */
	REASON_SPOOFED_MAC = 5,	       /* source MAC is not the pod's */
	REASON_UNKNOWN_ENDPOINT = 6,   /* no endpoint is known behind this device */
	REASON_MALFORMED = 7,	       /* a header is cut off or contradicts itself */
	REASON_UNSUPPORTED_PROTOCOL = 8, /* neither IPv4, IPv6, ARP nor NDP */
	REASON_FRAGMENT = 9,	       /* fragment whose first part was not seen, or of what opens a flow with L7 rules */
	REASON_NO_BACKEND = 10,	       /* service without a ready backend */
	REASON_CT_FULL = 11,	       /* conntrack map refused a new flow */
	REASON_PROXY_MISSING = 12,     /* L7 rules apply and no proxy enforces them */
	REASON_NO_ROUTE = 13,	       /* no route to the destination */
	REASON_NAT_FAILED = 14,	       /* address translation failed */
	REASON_CT_COLLISION = 15,      /* the flow's tuple is in use by a flow of another service address */
	REASON_EXTENSION_HEADERS = 16, /* more IPv6 extension headers than are followed */
	REASON_UNMANAGED_ADDRESS = 17, /* an address of this node's pod CIDR that no pod has */
	REASON_NAT_FULL = 18,	       /* no port, or no room, for a flow that needs another source */
	REASON_TOO_LARGE = 19,	       /* larger than the way to the backend takes */
	REASON_SOURCE_RANGE = 20,      /* the service is not for clients of this address */
	REASON_COUNT,
};

#endif
