// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace tandem {

// Lets a raw socket of ICMP or ICMPv6 have echo replies of this identifier, and errors that may be for a request of it: a node receives answers to
// many other processes, and errors for all that its pods send, and each would wake who only waits for its own. False: errno says why.
bool filter_echoes(int fd, bool v6, uint16_t id);

}  // namespace tandem
