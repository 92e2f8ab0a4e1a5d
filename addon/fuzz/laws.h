// SPDX-License-Identifier: Apache-2.0
// What the fuzzers share: laws that have to hold, and inputs read as steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "l7/pattern.h"
#include "l7/rules.h"
#include "l7/runner.h"

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
  std::string_view take(size_t count) {
    count = std::min(count, size_ - at_);
    at_ += count;
    return std::string_view(reinterpret_cast<const char*>(data_ + at_ - count), count);
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
};

// Numbers that an input draws: the same ones each time it is run.
class Draw {
 public:
  Draw(const uint8_t* data, size_t size) {
    for (size_t at = 0; at < size; at++) state_ = (state_ ^ data[at]) * 0x100000001b3;
  }
  // Of 0 to below - 1 (splitmix64).
  size_t next(size_t below) {
    uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return static_cast<size_t>((mixed ^ mixed >> 31) % below);
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325;
};

// The client's bytes once more, cut where the input says: mostly into a few pieces, as each one costs the same whatever its size; once in 32 inputs
// into as many as there are of 1 to 8 bytes.
inline void feed_in_pieces(l7::Runner& runner, std::string_view bytes, Draw& draw) {
  const bool is_fine = draw.next(32) == 0;
  const size_t most = is_fine ? 8 : draw.next(2) == 0 ? 16 : 1 + bytes.size() / 2;
  for (size_t pieces = is_fine ? SIZE_MAX : 2 + draw.next(6); !bytes.empty(); pieces--) {
    const size_t count = pieces == 1 ? bytes.size() : std::min(bytes.size(), 1 + draw.next(most));
    runner.feed(l7::Side::client, bytes.substr(0, count));
    bytes.remove_prefix(count);
  }
}

// How long a play goes on: for 24 steps, or once in 32 inputs for 400. When the client was told that all is over it is played on for some, as nothing
// may follow then; what is left of an input would say the same again.
class Length {
 public:
  explicit Length(Draw& draw) : most_(draw.next(32) == 0 ? 400 : 24) {}
  bool is_reached(const l7::Runner& runner) {
    const auto& out = runner.out(l7::Side::client);
    return out.reset || ++steps_ > most_ || (out.finished && ++behind_ > 4);
  }

 private:
  unsigned steps_ = 0, behind_ = 0;
  const unsigned most_;
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
