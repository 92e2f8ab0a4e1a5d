// SPDX-License-Identifier: Apache-2.0
#include "l7/http1/chunks.h"

#include <algorithm>

#include "l7/http1/head.h"

namespace tandem::l7::http1 {
namespace {

constexpr size_t longest_line = 4096;
constexpr size_t most_trailers = 16 * 1024;

// The line at the front without its CRLF; false: it has not come whole. `refused`: it never will be one. What is wrong first counts, so that how
// the bytes come changes nothing.
bool line_of(std::string_view bytes, std::string_view& line, const char*& refused) {
  const size_t end = std::min(bytes.find_first_of("\r\n"), bytes.size());
  const std::string_view behind = bytes.substr(end, 2);
  if (end > longest_line) {
    refused = "a line of a chunked body that is too long";
  } else if (behind == "\r\n") {
    line = bytes.substr(0, end);
    return true;
  } else if (behind.substr(0, 1) == "\n") {
    refused = "a line of a chunked body that ends without CR";
  } else if (behind.size() == 2) {
    // Some would take a lone CR for a line's end.
    refused = "a CR without LF in a chunked body";
  }
  return false;
}

bool read_size(std::string_view line, uint64_t& size) {
  size_t digits = 0;
  size = 0;
  for (; digits < line.size(); digits++) {
    const char byte = line[digits];
    const int value = byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
    if (value < 0) break;
    if (digits == 15) return false;
    size = size << 4 | static_cast<uint64_t>(value);
  }
  if (digits == 0) return false;
  // An extension, which is dropped.
  if (digits < line.size() && line[digits] != ';') return false;
  for (const char byte : line.substr(digits)) {
    const auto code = static_cast<unsigned char>(byte);
    if ((code < 0x20 && byte != '\t') || code >= 0x7f) return false;
  }
  return true;
}

}  // namespace

Chunks::Step Chunks::next(std::string_view bytes) {
  Step step;
  std::string_view line;
  const char* refused = nullptr;
  // What was read before it goes on, as it would if it had come alone.
  const auto refuse = [&](const char* reason) {
    step.wants = Wants::refused;
    step.reason = reason;
    return step;
  };
  if (state_ == State::end_of_data) {
    if (bytes.size() < 2) return bytes.empty() || bytes[0] == '\r' ? step : refuse("a chunk that is longer than it says");
    if (bytes.substr(0, 2) != "\r\n") return refuse("a chunk that is longer than it says");
    step.out = "\r\n";
    step.taken = 2;
    state_ = State::size;
    bytes.remove_prefix(2);
  }
  if (state_ == State::size) {
    if (!line_of(bytes, line, refused)) return refused == nullptr ? step : refuse(refused);
    if (!read_size(line, step.data)) return refuse("a chunk's size that is no number");
    char text[24];
    step.out.append(text, static_cast<size_t>(snprintf(text, sizeof(text), "%llx\r\n", static_cast<unsigned long long>(step.data))));
    step.taken += line.size() + 2;
    if (step.data > 0) {
      state_ = State::end_of_data;
      step.wants = Wants::data;
      return step;
    }
    state_ = State::trailers;
    bytes.remove_prefix(line.size() + 2);
  }
  for (;;) {
    if (!line_of(bytes, line, refused)) return refused == nullptr ? step : refuse(refused);
    if (!line.empty()) {
      trailer_bytes_ += line.size();
      http::Header field;
      if (const char* reason = read_field(line, field)) return refuse(reason);
      if (is_framing(field.name)) return refuse("a trailer that frames the message");
      if (trailer_bytes_ > most_trailers) return refuse("trailers that are too large");
    }
    step.taken += line.size() + 2;
    step.out.append(line).append("\r\n");
    if (line.empty()) {
      step.wants = Wants::done;
      state_ = State::size;
      return step;
    }
    bytes.remove_prefix(line.size() + 2);
  }
}

}  // namespace tandem::l7::http1
