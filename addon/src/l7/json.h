// SPDX-License-Identifier: Apache-2.0
// Texts of anybody inside of JSON: bytes are taken for Latin-1, so that whatever was sent makes a valid line.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace tandem::l7 {

inline void append_json(std::string& out, std::string_view text) {
  out += '"';
  size_t plain = 0;  // begins what needs no escape, and goes in one piece
  for (size_t at = 0; at < text.size(); at++) {
    const auto code = static_cast<unsigned char>(text[at]);
    if (code >= 0x20 && code < 0x7f && code != '"' && code != '\\') continue;
    char escape[8];
    if (code == '"' || code == '\\') snprintf(escape, sizeof(escape), "\\%c", code);
    else snprintf(escape, sizeof(escape), "\\u%04x", code);
    out.append(text.substr(plain, at - plain)).append(escape);
    plain = at + 1;
  }
  out.append(text.substr(plain)) += '"';
}

inline std::string json_text(std::string_view text) {
  std::string out;
  append_json(out, text);
  return out;
}

}  // namespace tandem::l7
