// SPDX-License-Identifier: Apache-2.0
#include "l7/pattern.h"

#include <re2/re2.h>

namespace tandem::l7 {

Pattern::Pattern(std::unique_ptr<re2::RE2> expression) : expression_(std::move(expression)) {}

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
  return std::shared_ptr<const Pattern>(new Pattern(std::move(compiled)));
}

bool Pattern::matches(std::string_view text) const {
  return re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *expression_);
}

}  // namespace tandem::l7
