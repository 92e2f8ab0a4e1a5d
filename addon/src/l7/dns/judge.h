// SPDX-License-Identifier: Apache-2.0
// What the rules of both ends say about one question.
#pragma once

#include "l7/dns/message.h"
#include "l7/record.h"
#include "l7/rules.h"

namespace tandem::l7::dns {

struct Judgement {
  bool is_allowed = false;
  bool waits = false;      // not allowed, as rules have not come yet that may allow it
  bool ingress = false;  // who denied: the server's end; else the client's
  uint32_t rules = 0;    // RuleSet::id of what allowed it; 0: no rule had to
};

Judgement judge(const Question& question, const Demands& demands);

}  // namespace tandem::l7::dns
