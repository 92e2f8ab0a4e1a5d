// SPDX-License-Identifier: Apache-2.0
// L7Tables of JavaScript (src/native/l7-contract.ts) as the engine asks them.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "l7/rules.h"
#include "l7/tables.h"

namespace tandem::l7 {

struct Refused {
  uint32_t rule_set;
  std::string message;
};

// A rule that cannot be read is in no table: what it alone would allow stays closed. Throws Failure for what is no table at all.
std::shared_ptr<const Tables> read_tables(const Napi::Value& value, std::vector<Refused>& refused);

std::shared_ptr<const RuleSet> read_rule_set(const Napi::Value& value, std::vector<Refused>& refused);

}  // namespace tandem::l7
