// SPDX-License-Identifier: Apache-2.0
// What the server says: answers, other protocols from there on, and what no client may see.
#include "l7/http1/filter.h"

namespace tandem::l7::http1 {
namespace {

constexpr int most_informational = 32;

}  // namespace

size_t Http1Filter::from_server(std::string_view bytes, Wire& wire) {
  if (!request_.is_sent) {
    // Nobody asked: what it says could be taken for the answer to the next request.
    if (!bytes.empty()) wire.end(Side::server, Ending::reset);
    served_ = 0;
    return bytes.size();
  }
  switch (response_.state) {
    case State::head:
      return answered(bytes, wire);
    case State::body:
      response_.state = State::done;
      complete(wire);
      return 0;
    case State::chunk_data:
      response_.state = State::chunks;
      [[fallthrough]];
    case State::chunks: {
      const size_t taken = pass_chunks(Side::client, response_.chunks, response_.state, bytes, wire);
      if (response_.state == State::done) complete(wire);
      return taken;
    }
    default:
      return 0;
  }
}

size_t Http1Filter::answered(std::string_view bytes, Wire& wire) {
  if (bytes.empty()) return 0;
  const char* refused = nullptr;
  const size_t size = find_end(bytes, response_.scanned, limits_, refused);
  if (refused != nullptr) {
    server_is_bad(refused, 502, "Bad Gateway", wire);
    return bytes.size();
  }
  if (size == 0) return 0;
  const std::string_view head = bytes.substr(0, size);
  ResponseHead response;
  refused = read_response(head, limits_, request_.detail.method, response);
  if (refused == nullptr && response.status == 101 && !request_.upgrades) refused = "another protocol that nobody asked for";
  if (refused == nullptr && response.status < 200 && ++response_.informational > most_informational) refused = "too many informational answers";
  if (refused != nullptr) {
    server_is_bad(refused, 502, "Bad Gateway", wire);
    return bytes.size();
  }
  if (response_.begun == 0) response_.begun = wire.now();
  response_.scanned = 0;
  request_.replay.clear();
  wire.send(Side::client, head);
  if (response.status < 200 && response.status != 101) return size;
  response_.status = response.status;
  response_.keep_alive = response.keep_alive;
  if (response.status == 101 || (request_.is_connect && response.status < 300)) {
    tunnel(wire);
    return size;
  }
  switch (response.framing) {
    case Framing::chunked:
      response_.state = State::chunks;
      break;
    case Framing::length:
      response_.state = response.length > 0 ? State::body : State::done;
      if (response.length > 0) wire.pass(Side::server, response.length);
      break;
    case Framing::until_close:
      response_.state = State::until_close;
      wire.pass(Side::server, everything);
      break;
    case Framing::none:
      response_.state = State::done;
      break;
  }
  if (response_.state == State::done) complete(wire);
  return size;
}

void Http1Filter::tunnel(Wire& wire) {
  tell(Verdict::forwarded, false, nullptr, wire);
  request_.state = response_.state = State::tunnel;
  wire.expire_after(0);
  wire.pass(Side::client, everything);
  wire.pass(Side::server, everything);
}

void Http1Filter::server_is_bad(const char* reason, int status, std::string_view phrase, Wire& wire) {
  if (is_of_limits(reason)) wire.reached(Limit::head);
  wire.end(Side::server, Ending::reset);
  if (response_.status != 0 || response_.begun != 0) {
    // The client has a part of it; it must not take it for the whole.
    tell(Verdict::failed, false, reason, wire);
    wire.end(Side::client, Ending::reset);
    is_over_ = true;
    return;
  }
  answer(status, phrase, std::string(reason) + "\r\n", true, wire);
  tell(Verdict::failed, false, reason, wire);
  close(wire);
}

}  // namespace tandem::l7::http1
