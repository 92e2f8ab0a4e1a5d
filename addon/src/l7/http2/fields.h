// SPDX-License-Identifier: Apache-2.0
// The fields of one HTTP/2 head or trailer section, in order, pseudo-headers first. All texts lie in one buffer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::l7::http2 {

class Fields {
 public:
  // secret: never to be kept in a table of HPACK (RFC 7541 7.1.3).
  void add(std::string_view name, std::string_view value, bool secret = false) {
    spans_.push_back({static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(name.size()), static_cast<uint32_t>(value.size()), secret});
    text_.append(name).append(value);
  }

  size_t size() const { return spans_.size(); }
  std::string_view name(size_t at) const { return std::string_view(text_).substr(spans_[at].at, spans_[at].name); }
  std::string_view value(size_t at) const { return std::string_view(text_).substr(spans_[at].at + spans_[at].name, spans_[at].value); }
  bool is_secret(size_t at) const { return spans_[at].secret; }

  // Of the first field of that name; empty: there is none.
  std::string_view find(std::string_view name) const {
    for (size_t at = 0; at < size(); at++)
      if (this->name(at) == name) return value(at);
    return {};
  }

  // As SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113 6.5.2).
  size_t list_size() const { return text_.size() + 32 * spans_.size(); }

  void clear() {
    text_.clear();
    spans_.clear();
  }

 private:
  struct Span {
    uint32_t at, name, value;
    bool secret;
  };
  std::string text_;
  std::vector<Span> spans_;
};

}  // namespace tandem::l7::http2
