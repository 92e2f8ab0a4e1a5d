// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/judge.h"

#include <algorithm>

#include "l7/pattern.h"

namespace tandem::l7::dns {
namespace {

// What of the sets allows the name; 0: nothing.
uint32_t allowing(const End& end, const std::string& name) {
  for (const auto& set : end.any_of) {
    if (set->protocol != Protocol::dns) continue;
    const auto names = [&](const NameRule& rule) { return rule.pattern->matches(name); };
    if (std::any_of(set->dns.begin(), set->dns.end(), names)) return set->id;
  }
  return 0;
}

bool allows(const End& end, const std::string& name, uint32_t& rules) {
  switch (end.stance) {
    case Stance::absent:
    case Stance::open:
      return true;
    case Stance::refused:
    case Stance::unknown:
      return false;
    case Stance::asks:
      break;
  }
  const uint32_t by = allowing(end, name);
  if (by != 0) rules = by;
  return by != 0;
}

}  // namespace

Judgement judge(const Question& question, const Demands& demands) {
  Judgement judgement;
  if (!allows(demands.egress, question.name, judgement.rules)) {
    judgement.waits = demands.egress.stance == Stance::unknown;
    return judgement;
  }
  if (!allows(demands.ingress, question.name, judgement.rules)) {
    judgement.waits = demands.ingress.stance == Stance::unknown;
    judgement.ingress = true;
    judgement.rules = 0;
    return judgement;
  }
  judgement.is_allowed = true;
  return judgement;
}

}  // namespace tandem::l7::dns
