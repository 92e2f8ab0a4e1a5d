// DELs that no agent could take: one file each under <stateDir>/cni-deletes, replayed by the agent when it starts.
#pragma once

#include <string>

#include "json_writer.h"

namespace tandem {

// Keeps the request durably (fsync, atomic rename). Repeating a DEL keeps one file. Returns "" or why it could not be kept:
// with 256 files there the oldest are kept and this one is refused.
std::string queue_delete(const std::string &state_dir, const Request &request);

}  // namespace tandem
