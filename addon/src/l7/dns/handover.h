// SPDX-License-Identifier: Apache-2.0
// What one engine knows of DNS that its successor, another process, needs: the addresses that are known to be open, and the questions under way.
// A client that goes on from one port gets a second socket of the same addresses in the successor, and the kernel gives the answers to what
// was asked before to the newer one; without these questions they would be answers to nothing. Bytes that nobody else reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "l7/dns/names.h"
#include "l7/dns/questions.h"
#include "l7/dns/socket.h"

namespace tandem::l7::dns {

struct UnderWay {
  Path path;
  Asked asked;
};

struct Handover {
  std::vector<KnownAddress> known;
  std::vector<UnderWay> questions;
};

std::string write_handover(const Handover& handover);

// Whatever it can read: of another version, or cut, it may be nothing.
Handover read_handover(std::string_view bytes);

}  // namespace tandem::l7::dns
