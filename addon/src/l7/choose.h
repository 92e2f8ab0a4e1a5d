// SPDX-License-Identifier: Apache-2.0
// Which protocol a flow has to speak, as the rules of its ends say.
#pragma once

#include <memory>

#include "l7/dns/options.h"
#include "l7/filter.h"
#include "l7/http/judge.h"
#include "l7/limits.h"
#include "l7/rules.h"

namespace tandem::l7 {

struct Choice {
  std::unique_ptr<Filter> filter;  // null: it is closed
  bool waits = false;              // its rules have not come yet
  const char* reason = "";
};

Choice choose(const Demands& demands, const Limits& limits, const http::JudgeOptions& options, const std::shared_ptr<dns::Shared>& dns);

}  // namespace tandem::l7
