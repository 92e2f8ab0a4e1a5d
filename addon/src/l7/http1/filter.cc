// SPDX-License-Identifier: Apache-2.0
#include "l7/http1/filter.h"

#include <algorithm>

namespace tandem::l7::http1 {
namespace {

// A denied request's body is read and dropped up to that, so that the connection can go on.
constexpr uint64_t most_discarded = 64 * 1024;

bool may_be_repeated(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE" || method == "TRACE";
}

// The head as it was sent, but for what is to be another: the target, fields that a rule edits, and the wish for HTTP/2.
std::string rewrite(std::string_view head, const RequestHead& request, const http::Judgement& judgement) {
  std::string out;
  out.reserve(head.size() + 64);
  out.append(request.method).append(" ").append(judgement.target).append(request.minor == 1 ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n");
  for (const auto& [name, value] : request.headers) {
    if (request.h2c && (same_word(name, "upgrade") || same_word(name, "http2-settings") || same_word(name, "connection"))) continue;
    const std::string_view header = name;
    const bool replaced = std::any_of(judgement.edits.begin(), judgement.edits.end(), [&](const http::Edit& edit) {
      return edit.kind != http::Edit::Kind::add && same_word(header, edit.name);
    });
    if (replaced) continue;
    out.append(name).append(": ").append(value).append("\r\n");
  }
  if (request.h2c && !request.keep_alive) out.append("connection: close\r\n");
  for (const http::Edit& edit : judgement.edits)
    if (edit.kind != http::Edit::Kind::remove) out.append(edit.name).append(": ").append(edit.value).append("\r\n");
  out.append("\r\n");
  return out;
}

}  // namespace

size_t Http1Filter::receive(Side from, std::string_view bytes, Wire& wire) {
  if (is_over_) return bytes.size();
  return from == Side::client ? from_client(bytes, wire) : from_server(bytes, wire);
}

size_t Http1Filter::from_client(std::string_view bytes, Wire& wire) {
  switch (request_.state) {
    case State::head:
      return begin(bytes, wire);
    case State::body:  // it has passed
      request_.state = State::done;
      complete(wire);
      return 0;
    case State::chunk_data:
      request_.state = State::chunks;
      [[fallthrough]];
    case State::chunks: {
      const size_t taken = pass_chunks(Side::server, request_.chunks, request_.state, bytes, wire);
      if (request_.state == State::done) complete(wire);
      return taken;
    }
    case State::discarded: {
      const size_t taken = static_cast<size_t>(std::min<uint64_t>(request_.discards, bytes.size()));
      request_.discards -= taken;
      if (request_.discards == 0) {
        request_.state = State::done;
        complete(wire);
      }
      return taken;
    }
    case State::until_close:
    case State::done:  // the next one waits for this one's answer
    case State::tunnel:
      return 0;
  }
  return 0;
}

size_t Http1Filter::begin(std::string_view bytes, Wire& wire) {
  size_t skipped = 0;
  if (request_.begun == 0) {
    // RFC 9112 2.2: an empty line before a request is passed over; one, however it comes.
    if (!request_.skipped && bytes.substr(0, 2) == "\r\n") {
      request_.skipped = true;
      skipped = 2;
    }
    bytes.remove_prefix(skipped);
    if (bytes.empty() || (!request_.skipped && bytes == "\r")) {
      if (draining_) close(wire);
      else wire.expire_after(limits_.idle_timeout);
      return skipped;
    }
    request_.begun = wire.now();
    wire.expire_after(limits_.head_timeout);
  }
  const char* refused = nullptr;
  const size_t size = find_end(bytes, request_.scanned, limits_, refused);
  if (refused != nullptr) {
    refuse(refused, wire);
    return skipped + bytes.size();
  }
  if (size == 0) return skipped;
  const std::string_view head = bytes.substr(0, size);
  RequestHead request;
  refused = read_request(head, limits_, request);
  request_.detail.method = std::string(request.method);
  request_.detail.host = std::string(request.authority);
  request_.detail.path = std::string(request.path);
  request_.is_head = request.method == "HEAD";
  if (refused != nullptr) {
    refuse(refused, wire);
    return skipped + size;
  }
  request_.is_connect = request.method == "CONNECT";
  request_.keep_alive = request.keep_alive;
  request_.upgrades = request.upgrades;
  wire.expire_after(limits_.request_timeout);
  const http::Judgement judgement =
      http::judge({request.method, request.path, request.authority, &request.headers}, wire.demands(), options_);
  switch (judgement.verdict) {
    case Verdict::forwarded:
      forward(head, request, judgement, wire);
      break;
    case Verdict::redirected:
    case Verdict::denied:
      deny(request, judgement, wire);
      break;
    default:
      refuse(judgement.reason.c_str(), wire);
      break;
  }
  return skipped + size;
}

void Http1Filter::forward(std::string_view head, const RequestHead& request, const http::Judgement& judgement, Wire& wire) {
  request_.rules = judgement.rules;
  request_.detail.mismatches = judgement.mismatches;
  const bool as_sent = judgement.edits.empty() && !request.h2c && judgement.target == request.target;
  std::string sent = as_sent ? std::string(head) : rewrite(head, request, judgement);
  wire.send(Side::server, sent);
  request_.is_sent = true;
  if (request.framing == Framing::none && served_ > 0 && may_be_repeated(request.method)) request_.replay = std::move(sent);
  switch (request.framing) {
    case Framing::chunked:
      request_.state = State::chunks;
      break;
    case Framing::length:
      request_.state = request.length > 0 ? State::body : State::done;
      if (request.length > 0) wire.pass(Side::client, request.length);
      break;
    default:
      request_.state = State::done;
      break;
  }
}

void Http1Filter::deny(const RequestHead& request, const http::Judgement& judgement, Wire& wire) {
  // Whether a body follows that the client waits to send nobody knows.
  const bool bounded = request.framing == Framing::none || (request.framing == Framing::length && request.length <= most_discarded);
  const bool goes_on = bounded && !request.expects_continue && request.keep_alive && !request_.is_connect && !draining_;
  request_.rules = 0;
  if (judgement.verdict == Verdict::redirected) {
    answer(307, "Temporary Redirect", "", !goes_on, wire, judgement.target);
    tell(Verdict::redirected, false, nullptr, wire);
  } else {
    answer(403, "Forbidden", http::denied_text, !goes_on, wire);
    tell(Verdict::denied, judgement.ingress, nullptr, wire);
  }
  response_.state = State::done;
  if (!goes_on) {
    close(wire);
    return;
  }
  request_.discards = request.framing == Framing::length ? request.length : 0;
  request_.state = request_.discards > 0 ? State::discarded : State::done;
  if (request_.state == State::done) complete(wire);
}

size_t Http1Filter::pass_chunks(Side to, Chunks& chunks, State& state, std::string_view bytes, Wire& wire) {
  size_t taken = 0;
  for (;;) {
    const Chunks::Step step = chunks.next(bytes.substr(taken));
    taken += step.taken;
    if (!step.out.empty()) wire.send(to, step.out);
    switch (step.wants) {
      case Chunks::Wants::more:
        return taken;
      case Chunks::Wants::data:
        state = State::chunk_data;
        wire.pass(other(to), step.data);
        return taken;
      case Chunks::Wants::done:
        state = State::done;
        return taken;
      case Chunks::Wants::refused:
        if (to == Side::server) {
          refuse(step.reason, wire);
        } else {
          server_is_bad(step.reason, 502, "Bad Gateway", wire);
        }
        return bytes.size();
    }
  }
}

// An exchange is over when both of its messages are. An answer that comes before the whole request ends the connection: what follows could
// be taken for either.
void Http1Filter::complete(Wire& wire) {
  if (response_.state != State::done) return;
  if (request_.state != State::done) {
    if (!request_.is_sent) return;  // a denied body is being dropped
    tell(Verdict::forwarded, false, nullptr, wire);
    close(wire);
    return;
  }
  const bool was_sent = request_.is_sent;
  if (was_sent) tell(Verdict::forwarded, false, nullptr, wire);
  const bool goes_on = request_.keep_alive && (!was_sent || response_.keep_alive) && !client_ended_ && !draining_;
  if (was_sent) served_++;
  request_ = Request();
  response_ = Response();
  if (goes_on) wire.expire_after(limits_.idle_timeout);
  else close(wire);
}

void Http1Filter::ended(Side from, std::string_view left, Wire& wire) {
  if (is_over_) return;
  if (request_.state == State::tunnel) {
    wire.end(other(from), Ending::finish);
    return;
  }
  if (from == Side::client) {
    client_ended_ = true;
    if (!request_.is_sent && request_.state == State::head) {
      if (!left.empty()) tell(Verdict::refused, false, "the client ended in the middle of a head", wire);
      close(wire);
    } else if (request_.state != State::done) {
      tell(Verdict::failed, false, "the client ended in the middle of a body", wire);
      wire.end(Side::server, Ending::reset);
      wire.end(Side::client, Ending::reset);
      is_over_ = true;
    }
    return;
  }
  if (response_.state == State::until_close) {
    response_.state = State::done;
    served_ = 0;
    complete(wire);
    return;
  }
  if (!request_.is_sent) {
    served_ = 0;
    wire.end(Side::server, Ending::reset);
    return;
  }
  failed(Side::server, 0, wire);
}

void Http1Filter::failed(Side side, int error, Wire& wire) {
  if (is_over_) return;
  if (side == Side::client) {
    if (request_.is_sent) tell(Verdict::failed, false, "the client broke off", wire);
    wire.end(Side::server, Ending::reset);
    is_over_ = true;
    return;
  }
  wire.end(Side::server, Ending::reset);
  if (!request_.is_sent) {
    served_ = 0;
    return;
  }
  // A server may end an idle connection just when a request comes: nobody has seen it then.
  if (!request_.replay.empty() && response_.scanned == 0 && response_.begun == 0) {
    const std::string again = std::move(request_.replay);
    request_.replay.clear();
    served_ = 0;
    wire.send(Side::server, again);
    return;
  }
  const bool made = error == 0 || served_ > 0;
  server_is_bad(made ? "the server broke off" : "the server takes no connection", made ? 502 : 503, made ? "Bad Gateway" : "Service Unavailable", wire);
}

void Http1Filter::expired(Wire& wire) {
  if (is_over_) return;
  if (request_.state == State::head && request_.begun == 0) {
    wire.reached(Limit::idle_timeout);
    close(wire);
  } else if (request_.state == State::head) {
    wire.reached(Limit::head_timeout);
    answer(408, "Request Timeout", "", true, wire);
    tell(Verdict::refused, false, "a head that did not come in time", wire);
    close(wire);
  } else {
    wire.reached(Limit::request_timeout);
    server_is_bad("no answer in time", 504, "Gateway Timeout", wire);
  }
}

void Http1Filter::drain(Wire& wire) {
  draining_ = true;
  if (is_idle()) close(wire);
}

void Http1Filter::refuse(const char* reason, Wire& wire) {
  if (is_of_limits(reason)) wire.reached(Limit::head);
  if (response_.begun != 0) {
    wire.end(Side::client, Ending::reset);
  } else {
    answer(400, "Bad Request", std::string(reason) + "\r\n", true, wire);
  }
  tell(Verdict::refused, false, reason, wire);
  close(wire);
}

void Http1Filter::answer(int status, std::string_view phrase, std::string_view body, bool close, Wire& wire, std::string_view location) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " ";
  text.append(phrase).append("\r\n");
  if (!location.empty()) text.append("location: ").append(location).append("\r\n");
  if (!body.empty()) text.append("content-type: text/plain\r\n");
  text.append("content-length: ").append(std::to_string(body.size())).append("\r\n");
  if (close) text.append("connection: close\r\n");
  text.append("\r\n");
  if (!request_.is_head) text.append(body);
  response_.status = status;
  wire.send(Side::client, text);
}

void Http1Filter::close(Wire& wire) {
  wire.end(Side::server, Ending::reset);
  wire.end(Side::client, Ending::finish);
  wire.expire_after(0);
  is_over_ = true;
}

void Http1Filter::tell(Verdict verdict, bool ingress, const char* reason, Wire& wire) {
  Record record;
  record.verdict = verdict;
  record.protocol = "http/1.1";
  record.begun = request_.begun;
  record.answered = response_.begun;
  record.rules = request_.rules;
  record.ingress = ingress;
  if (reason != nullptr) record.reason = reason;
  request_.detail.status = response_.status;
  record.detail = request_.detail.text();
  wire.record(std::move(record));
}

size_t Http1Filter::memory() const {
  return sizeof(*this) + request_.detail.memory() + request_.replay.capacity();
}

}  // namespace tandem::l7::http1
