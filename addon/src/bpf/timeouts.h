// SPDX-License-Identifier: Apache-2.0
// How long a flow may be silent in which state, as the programs have it in bpf/lib/flow_state.h.
#pragma once

#include <linux/in.h>
#include <tandem/types.h>
#include <time.h>

#include "bpf/kernel.h"

namespace tandem {

// flags: enum ct_flags
inline uint32_t flow_timeout(uint16_t flags, uint8_t protocol, const Timeouts& t) {
  switch (protocol) {
    case IPPROTO_TCP:
      if (flags & CT_RST || (flags & CT_FIN_INITIATOR && flags & CT_FIN_RESPONDER)) return t.tcp_closing;
      return flags & CT_ESTABLISHED ? t.tcp_established : t.tcp_opening;
    case IPPROTO_UDP:
      return flags & CT_REPLIED ? t.udp_replied : t.udp_unreplied;
    case IPPROTO_ICMP:
    case 58:  // ICMPv6
      return t.icmp;
    default:
      return t.other;
  }
}

// since: seconds of CLOCK_MONOTONIC, perhaps a little ahead of ours
inline bool is_past(uint32_t since, uint32_t timeout) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint32_t seconds = now.tv_sec;
  return seconds > since && seconds - since > timeout;
}

}  // namespace tandem
