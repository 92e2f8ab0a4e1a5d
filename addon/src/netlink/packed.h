// SPDX-License-Identifier: Apache-2.0
// Rows, events and changes as bytes: tens of thousands of routes become JavaScript objects in src/native/netlink-rows.ts, in slices,
// many times faster than property by property through Node-API. Both files list the same fields in the same order: numbers are
// little endian; bytes follow their length (1 byte), text (UTF-8) its length (2 bytes).
#pragma once

#include <vector>

#include "netlink/monitor.h"
#include "netlink/rows.h"

namespace tandem {

// The count (4 bytes), then each row.
template <typename Row>
Bytes pack(const std::vector<Row>& rows);

// A request of applyNetlink: the count, then each change, from src/native/netlink-changes.ts. Throws Failure on what that cannot have made.
std::vector<Message> unpack_changes(const Bytes& packed);

}  // namespace tandem
