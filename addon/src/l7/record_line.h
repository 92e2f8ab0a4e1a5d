// SPDX-License-Identifier: Apache-2.0
// A record as the line of JSON that JavaScript and access logs get (L7Record in src/native/l7-contract.ts).
#pragma once

#include <string>

#include "l7/address.h"
#include "l7/record.h"
#include "l7/rules.h"

namespace tandem::l7 {

// Its time is that of the machine, as people read it; nothing is decided by it.
void append_record(std::string& out, const Address& client, const Address& server, const Demands& demands, const Record& record);

}  // namespace tandem::l7
