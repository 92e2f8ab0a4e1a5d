/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What packets tell of the state that a flow is in (enum ct_flags), and how long it may be silent in each. */
#ifndef TANDEM_LIB_FLOW_STATE_H
#define TANDEM_LIB_FLOW_STATE_H

#include <tandem/config.h>
#include "packet.h"

/* Seconds for which a flow in this state (enum ct_flags) may be silent. */
static __always_inline __u32 flow_timeout(__u16 flags, __u8 protocol)
{
	if (protocol == IPPROTO_TCP) {
		if (flags & CT_RST || (flags & CT_FIN_INITIATOR && flags & CT_FIN_RESPONDER))
			return config_timeout_tcp_closing;
		return flags & CT_ESTABLISHED ? config_timeout_tcp_established : config_timeout_tcp_opening;
	}
	if (protocol == IPPROTO_UDP)
		return flags & CT_REPLIED ? config_timeout_udp_replied : config_timeout_udp_unreplied;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return config_timeout_icmp;
	return config_timeout_other;
}

static __always_inline bool is_opening(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A flow's state (enum ct_flags) after this packet. */
static __always_inline __u16 next_state(__u16 flags, const struct packet *packet, bool reply)
{
	if (reply)
		flags |= CT_REPLIED;
	if (packet->protocol != IPPROTO_TCP)
		return flags;
	if (packet->tcp_flags & TCP_RST)
		flags |= CT_RST;
	else
		flags &= ~CT_RST;
	if (packet->tcp_flags & TCP_FIN)
		flags |= reply ? CT_FIN_RESPONDER : CT_FIN_INITIATOR;
	if (!reply && flags & CT_REPLIED && packet->tcp_flags & TCP_ACK)
		flags |= CT_ESTABLISHED;
	return flags;
}

#endif
