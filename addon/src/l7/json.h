// SPDX-License-Identifier: Apache-2.0
// Texts of anybody inside of JSON: bytes are taken for Latin-1, so that whatever was sent makes a valid line.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace tandem::l7 {

inline void append_json(std::string& out, std::string_view text) {
  out += '"';
  for (const char byte : text) {
    const auto code = static_cast<unsigned char>(byte);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += byte;
    } else if (code < 0x20 || code >= 0x7f) {
      char escape[8];
      snprintf(escape, sizeof(escape), "\\u%04x", code);
      out += escape;
    } else {
      out += byte;
    }
  }
  out += '"';
}

inline std::string json_text(std::string_view text) {
  std::string out;
  append_json(out, text);
  return out;
}

}  // namespace tandem::l7
