// SPDX-License-Identifier: Apache-2.0
#include "l7/http/rule-index.h"

#include <re2/set.h>

#include <algorithm>

#include "l7/pattern.h"

namespace tandem::l7::http {
namespace {

// "/" tells nothing apart.
constexpr size_t least_prefix = 2;
// RE2's own bound for the states that it has made, of one automaton.
constexpr int64_t most_states = 8 << 20;

size_t common(std::string_view a, std::string_view b) {
  size_t at = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at]) at++;
  return at;
}

}  // namespace

void PrefixTree::add(std::string_view prefix, uint32_t number) { add(root_, prefix, number); }

void PrefixTree::add(Node& node, std::string_view prefix, uint32_t number) {
  if (prefix.empty()) {
    node.numbers.push_back(number);
    return;
  }
  const auto found = std::find_if(node.children.begin(), node.children.end(), [&](const Node& child) { return child.label[0] == prefix[0]; });
  if (found == node.children.end()) {
    node.children.push_back({std::string(prefix), {number}, {}});
    return;
  }
  const size_t shared = common(found->label, prefix);
  if (shared < found->label.size()) {
    // The way forks within this label.
    Node lower{found->label.substr(shared), std::move(found->numbers), std::move(found->children)};
    found->label.resize(shared);
    found->numbers.clear();
    found->children.clear();
    found->children.push_back(std::move(lower));
  }
  add(*found, prefix.substr(shared), number);
}

void PrefixTree::find(std::string_view text, std::vector<uint32_t>& out) const {
  const Node* node = &root_;
  for (;;) {
    out.insert(out.end(), node->numbers.begin(), node->numbers.end());
    if (text.empty()) return;
    const auto found =
        std::find_if(node->children.begin(), node->children.end(), [&](const Node& child) { return child.label[0] == text[0]; });
    if (found == node->children.end() || text.substr(0, found->label.size()) != found->label) return;
    text.remove_prefix(found->label.size());
    node = &*found;
  }
}

struct RuleIndex::Automaton {
  Automaton() : set(options(), re2::RE2::ANCHOR_BOTH) {}

  static re2::RE2::Options options() {
    re2::RE2::Options made(re2::RE2::Latin1);
    made.set_log_errors(false);
    made.set_max_mem(most_states);
    return made;
  }

  re2::RE2::Set set;
  std::vector<uint32_t> rules;  // by the set's numbers
};

RuleIndex::RuleIndex(const std::vector<HttpRule>& rules) {
  auto others = std::make_unique<Automaton>();
  for (uint32_t number = 0; number < rules.size(); number++) {
    const HttpRule& rule = rules[number];
    if (rule.path != nullptr && rule.path->prefix().size() >= least_prefix) paths_.add(rule.path->prefix(), number);
    else if (rule.host != nullptr && !rule.host->prefix().empty()) hosts_.add(rule.host->prefix(), number);
    else if (rule.path != nullptr && others->set.Add(rule.path->expression(), nullptr) >= 0) others->rules.push_back(number);
    else always_.push_back(number);
  }
  if (others->rules.empty()) return;
  if (others->set.Compile()) others_ = std::move(others);
  else always_.insert(always_.end(), others->rules.begin(), others->rules.end());
}

RuleIndex::~RuleIndex() = default;

void RuleIndex::candidates(std::string_view target, std::string_view authority, std::vector<uint32_t>& out) const {
  out = always_;
  paths_.find(target, out);
  hosts_.find(authority, out);
  if (others_ != nullptr) {
    thread_local std::vector<int> found;
    re2::RE2::Set::ErrorInfo error{};
    const bool matched = others_->set.Match(re2::StringPiece(target.data(), target.size()), &found, &error);
    // It ran out of memory: each is asked for itself.
    if (!matched && error.kind != re2::RE2::Set::kNoError) out.insert(out.end(), others_->rules.begin(), others_->rules.end());
    else if (matched)
      for (const int at : found) out.push_back(others_->rules[static_cast<size_t>(at)]);
  }
  std::sort(out.begin(), out.end());
}

}  // namespace tandem::l7::http
