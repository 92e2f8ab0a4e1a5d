// SPDX-License-Identifier: Apache-2.0
// Connections of the kernel's own conntrack (nfnetlink, linux/netfilter/nfnetlink_conntrack.h).
#pragma once

#include <tandem/types.h>

#include <vector>

namespace tandem {

// TCP and UDP flows of this thread's namespace that somebody answered and that rules lead to another destination (IPS_DST_NAT), as the map
// kernel_flow has them: a key for each direction. Failure where the kernel has no nf_conntrack_netlink and cannot load it.
std::vector<kernel_flow_key> redirected_flows();

}  // namespace tandem
