// SPDX-License-Identifier: Apache-2.0
// Characters of HTTP's words, whichever version brought them.
#pragma once

#include <string_view>

namespace tandem::l7::http {

// RFC 9110 5.6.2.
inline bool is_token(char byte) {
  if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9')) return true;
  switch (byte) {
    case '!': case '#': case '$': case '%': case '&': case '\'': case '*': case '+': case '-': case '.': case '^': case '_': case '`': case '|': case '~':
      return true;
    default:
      return false;
  }
}

inline bool is_token(std::string_view text) {
  if (text.empty()) return false;
  for (const char byte : text)
    if (!is_token(byte)) return false;
  return true;
}

// What a target may be made of.
inline bool is_visible(std::string_view text) {
  for (const char byte : text)
    if (byte <= 0x20 || byte >= 0x7f) return false;
  return true;
}

// Names, addresses, ports: what no two readers split at another place.
inline bool is_host(std::string_view text) {
  for (const char byte : text) {
    const bool known = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '-' ||
                       byte == '.' || byte == '_' || byte == ':' || byte == '[' || byte == ']' || byte == '~';
    if (!known) return false;
  }
  return true;
}

}  // namespace tandem::l7::http
