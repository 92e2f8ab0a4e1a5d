// SPDX-License-Identifier: Apache-2.0
#include "l7/http/path.h"

#include <cstdint>

namespace tandem::l7::http {
namespace {

int hex(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

bool is_unreserved(unsigned char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' ||
         byte == '_' || byte == '~';
}

// RFC 3986 5.2.4, on a path of single slashes that begins with one. "/.." of nothing is the root.
std::string resolve(std::string_view path) {
  std::string made;
  size_t at = 0;
  while (at < path.size()) {
    const size_t end = path.find('/', at + 1);
    const std::string_view segment = path.substr(at + 1, (end == std::string_view::npos ? path.size() : end) - at - 1);
    const bool last = end == std::string_view::npos;
    if (segment == ".") {
      if (last) made += '/';
    } else if (segment == "..") {
      const size_t slash = made.rfind('/');
      made.resize(slash == std::string::npos ? 0 : slash);
      if (last) made += '/';
    } else {
      made += '/';
      made += segment;
    }
    if (last) break;
    at = end;
  }
  return made.empty() ? "/" : made;
}

std::string merge(std::string_view path) {
  std::string made;
  for (const char byte : path)
    if (byte != '/' || made.empty() || made.back() != '/') made += byte;
  return made;
}

// Nothing in it that would be changed or refused: what most targets are.
bool is_normal(std::string_view path) {
  if (path.empty() || path[0] != '/') return false;
  for (size_t at = 0; at < path.size(); at++) {
    if (path[at] == '%' || path[at] == '#') return false;
    if (path[at] == '/' && at + 1 < path.size() && (path[at + 1] == '/' || path[at + 1] == '.')) return false;
  }
  return true;
}

}  // namespace

Normalised normalise(std::string_view target) {
  Normalised made;
  const size_t question = target.find('?');
  const std::string_view path = target.substr(0, question);
  if (target.find('#') != std::string_view::npos) {
    made.refused = "a fragment in the target";
    return made;
  }
  if (is_normal(path)) {
    made.target = target;
    return made;
  }
  std::string decoded;
  decoded.reserve(path.size());
  for (size_t at = 0; at < path.size(); at++) {
    if (path[at] != '%') {
      decoded += path[at];
      continue;
    }
    const int high = at + 2 < path.size() ? hex(path[at + 1]) : -1, low = at + 2 < path.size() ? hex(path[at + 2]) : -1;
    if (high < 0 || low < 0) {
      made.refused = "a percent sign that begins no escape";
      return made;
    }
    const auto byte = static_cast<unsigned char>(high << 4 | low);
    at += 2;
    if (byte < 0x20 || byte == 0x7f) {
      made.refused = "an escaped control character in the path";
      return made;
    }
    if (is_unreserved(byte)) {
      decoded += static_cast<char>(byte);
    } else if (byte == '/') {
      decoded += '/';
      made.escaped_slash = true;
    } else {
      static constexpr char digits[] = "0123456789ABCDEF";
      decoded += '%';
      decoded += digits[byte >> 4];
      decoded += digits[byte & 15];
    }
  }
  made.target = resolve(merge(decoded));
  if (question != std::string_view::npos) made.target += target.substr(question);
  return made;
}

std::vector<std::string> other_readings(std::string_view target) {
  const size_t question = target.find('?');
  const std::string_view path = target.substr(0, question), query = question == std::string_view::npos ? "" : target.substr(question);
  std::vector<std::string> found;
  if (path.find_first_of("\\;%") == std::string_view::npos) return found;
  const auto add = [&](const std::string& reading) {
    if (reading == path) return;
    const std::string whole = resolve(merge(reading)) + std::string(query);
    if (whole != target) found.push_back(whole);
  };
  const auto slashed = [](std::string_view from) {
    std::string made;
    for (size_t at = 0; at < from.size(); at++) {
      if (from[at] == '\\') {
        made += '/';
      } else if (from[at] == '%' && at + 2 < from.size() && from[at + 1] == '5' && (from[at + 2] == 'C' || from[at + 2] == 'c')) {
        made += '/';
        at += 2;
      } else {
        made += from[at];
      }
    }
    return made;
  };
  // Escaped semicolons too: some servers unescape before they look for parameters.
  const auto bare = [](std::string_view from) {
    std::string made;
    bool inside = false;
    for (size_t at = 0; at < from.size(); at++) {
      const bool escaped = from[at] == '%' && at + 2 < from.size() && from[at + 1] == '3' && (from[at + 2] == 'B' || from[at + 2] == 'b');
      if (from[at] == '/') inside = false;
      if (from[at] == ';' || escaped) inside = true;
      if (!inside) made += from[at];
    }
    return made;
  };
  add(slashed(path));
  add(bare(path));
  add(bare(slashed(path)));
  return found;
}

}  // namespace tandem::l7::http
