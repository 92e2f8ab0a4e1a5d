// SPDX-License-Identifier: Apache-2.0
// Runs something inside another network namespace, on a thread of its own: a pool thread that failed to come back would
// poison whatever runs there next.
#pragma once

#include <functional>
#include <string>

namespace tandem {

// path: /run/netns/x or /proc/N/ns/net; empty: here and now. Rethrows what `work` throws; Failure if the namespace is gone.
void in_netns(const std::string& path, const std::function<void()>& work);

}  // namespace tandem
