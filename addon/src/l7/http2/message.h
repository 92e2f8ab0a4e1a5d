// SPDX-License-Identifier: Apache-2.0
// Heads of HTTP/2 messages as rules see them, and as they are passed on or answered. What libnghttp2 hands over is well-formed (RFC 9113
// section 8.1.1); here is refused what servers could take for two things all the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "l7/http/judge.h"
#include "l7/http2/fields.h"

namespace tandem::l7::http2 {

struct RequestHead {
  std::string_view method;
  std::string_view target;     // :path; of CONNECT, the authority
  std::string_view authority;  // :authority, or Host
  std::vector<http::Header> headers;  // without pseudo-headers; one Cookie made of all (RFC 9113 8.2.3)
  std::string cookie;
  bool is_connect = false;
  bool is_grpc = false;
};

// Null, or why it is refused. Views lie in `fields`, and in `out.cookie`.
const char* read_request(const Fields& fields, RequestHead& out);

// As it was sent, but for the path and for the fields that rules edit.
Fields rewrite(const Fields& fields, const RequestHead& request, const http::Judgement& judgement);

// gRPC's own codes (its statuscodes document).
enum Grpc : int { deadline_exceeded = 4, permission_denied = 7, resource_exhausted = 8, internal = 13, unavailable = 14 };

// An answer of our own. gRPC tells failures by trailers of an answer that is well (its protocol's "Trailers-Only").
struct Answer {
  int status = 200;
  int grpc_status = 0;  // where gRPC was spoken
  std::string_view text;
  std::string_view location;
};

// body: what is to follow; empty: the head is all.
Fields head_of(const Answer& answer, const RequestHead& request, std::string_view& body);

// grpc-status, from trailers or from a head that is all.
std::optional<int> grpc_status(const Fields& fields);

}  // namespace tandem::l7::http2
