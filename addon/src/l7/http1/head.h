// SPDX-License-Identifier: Apache-2.0
// Heads of HTTP/1 messages, read strictly (RFC 9112): what two readers could take for two things is refused, so that no server ever reads another
// request than the one that was judged.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "l7/http/judge.h"
#include "l7/limits.h"

namespace tandem::l7::http1 {

enum class Framing : uint8_t { none, length, chunked, until_close };

struct RequestHead {
  std::string_view method;
  std::string_view target;     // as sent
  std::string_view path;       // to be judged and passed on: origin form, "*", or the authority of CONNECT
  std::string_view authority;  // of Host, or of CONNECT; empty in HTTP/1.0 without one
  std::vector<http::Header> headers;
  int minor = 1;  // HTTP/1.minor
  Framing framing = Framing::none;
  uint64_t length = 0;
  bool keep_alive = true;
  bool expects_continue = false;
  bool upgrades = false;  // asks for another protocol, but not for HTTP/2
  bool h2c = false;       // asks for HTTP/2, in which requests would be hidden
};

struct ResponseHead {
  int status = 0;
  int minor = 1;
  std::vector<http::Header> headers;
  Framing framing = Framing::none;
  uint64_t length = 0;
  bool keep_alive = true;
};

// Whether a head was refused for its size alone, by what a function of these gave as the reason.
bool is_of_limits(const char* reason);

// Bytes of a head with its last empty line, or 0: it is not whole yet. `refused` is set for what can never become one: a line that ends without
// CR, or too many bytes. `scanned`: how much was looked at before; goes on from there.
size_t find_end(std::string_view bytes, size_t& scanned, const Limits& limits, const char*& refused);

// head: with its last empty line. Null, or why it is refused. Views lie in `head`.
const char* read_request(std::string_view head, const Limits& limits, RequestHead& out);

// request: the one that it answers. An answer that cannot be framed is refused, too.
const char* read_response(std::string_view head, const Limits& limits, std::string_view request_method, ResponseHead& out);

// One field line without its CRLF; also of trailers. Null, or why it is refused.
const char* read_field(std::string_view line, http::Header& out);

bool same_word(std::string_view a, std::string_view lower);

// A field that says where a message ends, or whom it is for: never in trailers, and never named by Connection.
bool is_framing(std::string_view name);

}  // namespace tandem::l7::http1
