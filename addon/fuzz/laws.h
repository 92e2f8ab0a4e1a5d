// SPDX-License-Identifier: Apache-2.0
// What the fuzzers share: laws that have to hold, and inputs read as steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "l7/pattern.h"
#include "l7/rules.h"

namespace tandem::fuzz {

inline void hold(bool law, const char* text) {
  if (law) return;
  fprintf(stderr, "broken: %s\n", text);
  abort();
}

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool is_over() const { return at_ >= size_; }
  unsigned next() { return at_ < size_ ? data_[at_++] : 0; }
  std::string take(size_t count) {
    count = std::min(count, size_ - at_);
    at_ += count;
    return std::string(reinterpret_cast<const char*>(data_ + at_ - count), count);
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

// One end that asks for one rule set.
inline l7::Demands demands_of(std::shared_ptr<l7::RuleSet> set) {
  l7::Demands all;
  set->id = 1;
  all.egress.stance = l7::Stance::asks;
  all.egress.any_of.push_back(std::move(set));
  return all;
}

// Paths that begin with /ok.
inline const l7::Demands& http_demands() {
  static const l7::Demands made = [] {
    std::string error;
    auto set = std::make_shared<l7::RuleSet>();
    set->protocol = l7::Protocol::http;
    l7::HttpRule rule;
    rule.path = l7::Pattern::make("/ok.*", error);
    set->http.push_back(std::move(rule));
    return demands_of(std::move(set));
  }();
  return made;
}

}  // namespace tandem::fuzz
