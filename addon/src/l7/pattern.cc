// SPDX-License-Identifier: Apache-2.0
#include "l7/pattern.h"

#include <re2/re2.h>

namespace tandem::l7 {

namespace {

// The letters up to the first one that means something else. Alternatives may begin with anything.
std::string literal_prefix(const std::string& expression) {
  if (expression.find('|') != std::string::npos) return "";
  const size_t special = expression.find_first_of(".[](){}*+?^$\\");
  if (special == std::string::npos) return expression;
  // A repetition is of the letter before it, which may be missing.
  const bool repeats = expression[special] == '*' || expression[special] == '?' || expression[special] == '{' || expression[special] == '+';
  return expression.substr(0, repeats && special > 0 ? special - 1 : special);
}

}  // namespace

Pattern::Pattern(std::unique_ptr<re2::RE2> expression, std::string prefix, bool is_literal)
    : expression_(std::move(expression)), prefix_(std::move(prefix)), is_literal_(is_literal) {}

Pattern::~Pattern() = default;

std::shared_ptr<const Pattern> Pattern::make(const std::string& expression, std::string& error) {
  // Bytes, not UTF-8: what is matched comes from anybody.
  re2::RE2::Options options(re2::RE2::Latin1);
  options.set_log_errors(false);
  auto compiled = std::make_unique<re2::RE2>(expression, options);
  if (!compiled->ok()) {
    error = compiled->error();
    return nullptr;
  }
  std::string prefix = literal_prefix(expression);
  const bool is_literal = prefix == expression;
  return std::shared_ptr<const Pattern>(new Pattern(std::move(compiled), std::move(prefix), is_literal));
}

const std::string& Pattern::expression() const { return expression_->pattern(); }

bool Pattern::matches(std::string_view text) const {
  if (text.substr(0, prefix_.size()) != prefix_) return false;
  if (is_literal_) return text.size() == prefix_.size();
  return re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *expression_);
}

}  // namespace tandem::l7
