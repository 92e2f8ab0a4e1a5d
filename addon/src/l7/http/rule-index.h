// SPDX-License-Identifier: Apache-2.0
// Which of many HTTP rules may match a request, found without asking each: what a request costs does not grow with the rules of its port.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "l7/rules.h"

namespace tandem::l7::http {

// Numbers under texts, found by a longer text that begins with one of them.
class PrefixTree {
 public:
  void add(std::string_view prefix, uint32_t number);
  // Appends the numbers of all prefixes of `text`.
  void find(std::string_view text, std::vector<uint32_t>& out) const;

 private:
  struct Node {
    std::string label;  // of the way that leads here
    std::vector<uint32_t> numbers;
    std::vector<Node> children;  // whose labels begin with different bytes
  };
  static void add(Node& node, std::string_view prefix, uint32_t number);

  Node root_;
};

// Each rule is looked for in one way: by the letters that its path begins with, by those of its host, by one automaton for all paths that
// begin with anything, or always.
class RuleIndex {
 public:
  explicit RuleIndex(const std::vector<HttpRule>& rules);
  ~RuleIndex();

  // Numbers of rules, ascending: all that match, and few that do not. `out` is emptied first.
  void candidates(std::string_view target, std::string_view authority, std::vector<uint32_t>& out) const;

 private:
  struct Automaton;

  PrefixTree paths_, hosts_;
  std::unique_ptr<Automaton> others_;
  std::vector<uint32_t> always_;
};

}  // namespace tandem::l7::http
