// SPDX-License-Identifier: Apache-2.0
// A regular expression that has to match a whole text, in time linear in it, whoever wrote either (RE2).
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace tandem::l7 {

class Pattern {
 public:
  // Null, with the reason, for what is no regular expression.
  static std::shared_ptr<const Pattern> make(const std::string& expression, std::string& error);

  ~Pattern();

  bool matches(std::string_view text) const;

  // What every match begins with; may be empty.
  std::string_view prefix() const { return prefix_; }
  const std::string& expression() const;

 private:
  Pattern(std::unique_ptr<re2::RE2> expression, std::string prefix, bool is_literal);

  const std::unique_ptr<re2::RE2> expression_;
  const std::string prefix_;
  const bool is_literal_;  // and nothing more
};

}  // namespace tandem::l7
