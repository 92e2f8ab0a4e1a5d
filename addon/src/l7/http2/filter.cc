// SPDX-License-Identifier: Apache-2.0
#include "l7/http2/filter.h"

#include <utility>
#include <vector>

namespace tandem::l7::http2 {
namespace {

// Bodies that wait in the proxy for one side, beyond which the other side's connection gets no more window.
constexpr size_t most_queued = size_t{4} << 20;

}  // namespace

size_t Http2Filter::receive(Side from, std::string_view bytes, Wire& wire) {
  if (is_over_) return bytes.size();
  wire_ = &wire;
  if (from == Side::client) {
    if (const char* reason = front_.receive(bytes, wire.now())) {
      tell_connection(reason);
      close(Ending::reset);
    }
  } else if (back_ == nullptr) {
    wire.end(Side::server, Ending::reset);
  } else {
    server_spoke_ = true;
    if (const char* reason = back_->receive(bytes, wire.now())) lose_server(reason, 502);
  }
  settle();
  return bytes.size();
}

void Http2Filter::lose_server(const char* reason, int status) {
  wire_->end(Side::server, Ending::reset);
  back_.reset();
  fronts_.clear();
  back_owed_ = 0;
  std::vector<int32_t> over;
  for (auto& [id, stream] : streams_) {
    if (!stream.back_open) continue;
    stream.back_open = false;
    if (stream.front_open && !stream.answer_ended) fail(id, stream, reason, status, unavailable);
    if (!stream.front_open) over.push_back(id);
  }
  for (const int32_t id : over) end_if_over(id);
}

void Http2Filter::settle() {
  if (!is_over_) pump();
  if (!is_over_ && back_ != nullptr && back_->is_over()) {
    lose_server(server_spoke_ ? "the server ended the connection" : "the server speaks no HTTP/2", 502);
    pump();
  }
  // libnghttp2 tells of most errors that end a connection, not of all.
  if (!is_over_ && front_.is_over() && !draining_ && !told_) tell_connection("what came is no HTTP/2");
  if (!is_over_ && (front_.is_over() || (draining_ && streams_.empty()))) close(Ending::finish);
  if (!is_over_) rearm();
  wire_ = nullptr;
}

// One stream that nobody reads must not stop the others, so the connection's window is given back before the stream's; up to a bound.
void Http2Filter::consume(Session& from, size_t count) {
  const bool is_front = &from == &front_;
  size_t& owed = is_front ? front_owed_ : back_owed_;
  owed += count;
  const size_t queued = is_front ? (back_ == nullptr ? 0 : back_->queued()) : front_.queued();
  if (owed == 0 || queued > most_queued) return;
  from.consume_connection(owed);
  owed = 0;
}

// What one connection writes may let the other one read on, so both are asked until neither has anything to say.
void Http2Filter::pump() {
  for (bool goes_on = true; goes_on;) {
    goes_on = false;
    for (const Side side : {Side::server, Side::client}) {
      Session* session = side == Side::client ? &front_ : back_.get();
      while (session != nullptr && wire_->waiting(side) < limits_.queue) {
        const std::string_view bytes = session->next();
        if (bytes.empty()) break;
        wire_->send(side, bytes);
        goes_on = true;
      }
    }
    consume(front_, 0);
    if (back_ != nullptr) consume(*back_, 0);
  }
}

// The timer belongs to what is waited for, so that bytes which bring nothing new do not put it off.
void Http2Filter::rearm() {
  const Waits waits = front_.is_waiting_for_head() ? Waits::head : streams_.empty() ? Waits::request : Waits::answers;
  if (waits == waits_) return;
  waits_ = waits;
  wire_->expire_after(waits == Waits::head ? limits_.head_timeout : waits == Waits::request ? limits_.idle_timeout : limits_.request_timeout);
}

void Http2Filter::expired(Wire& wire) {
  if (is_over_) return;
  wire_ = &wire;
  if (waits_ != Waits::answers) {
    wire.reached(waits_ == Waits::head ? Limit::head_timeout : Limit::idle_timeout);
    if (waits_ == Waits::head) tell_connection("a head that did not come in time");
    draining_ = true;
    front_.terminate(no_error);
    settle();
    return;
  }
  // gRPC has deadlines of its own, and streams that are meant to stay; so has CONNECT.
  const uint64_t limit = uint64_t{limits_.request_timeout} * 1'000'000;
  for (auto& [id, stream] : streams_) {
    if (!stream.front_open || stream.is_grpc || stream.is_connect || wire.now() - stream.begun < limit) continue;
    wire.reached(Limit::request_timeout);
    if (stream.back_open) back_->reset(stream.back, cancel);
    fail(id, stream, "no answer in time", 504, deadline_exceeded);
  }
  waits_ = Waits::nothing;
  settle();
}

void Http2Filter::ended(Side from, std::string_view, Wire& wire) {
  if (is_over_) return;
  wire_ = &wire;
  if (from == Side::client) draining_ = true;
  else if (back_ != nullptr) lose_server("the server ended the connection", 502);
  else wire.end(Side::server, Ending::reset);
  settle();
}

void Http2Filter::failed(Side side, int error, Wire& wire) {
  if (is_over_) return;
  wire_ = &wire;
  if (side == Side::client) {
    close(Ending::reset);
    return;
  }
  if (back_ != nullptr) {
    const bool made = error == 0 || server_spoke_;
    lose_server(made ? "the server broke off" : "the server takes no connection", made ? 502 : 503);
  }
  settle();
}

void Http2Filter::drained(Side, Wire& wire) {
  if (is_over_) return;
  wire_ = &wire;
  settle();
}

void Http2Filter::drain(Wire& wire) {
  if (is_over_) return;
  wire_ = &wire;
  draining_ = true;
  front_.goaway(no_error);
  settle();
}

void Http2Filter::close(Ending ending) {
  for (auto& [id, stream] : streams_) {
    if (stream.verdict == Verdict::forwarded && !stream.answer_ended) {
      stream.verdict = Verdict::failed;
      stream.reason = "the connection ended before its answer";
    }
    tell(stream);
  }
  streams_.clear();
  wire_->end(Side::server, Ending::reset);
  wire_->end(Side::client, ending);
  wire_->expire_after(0);
  is_over_ = true;
}

void Http2Filter::tell(const Stream& stream) {
  Record record;
  record.verdict = stream.verdict;
  record.protocol = "http/2";
  record.begun = stream.begun;
  record.answered = stream.first_byte;
  record.rules = stream.rules;
  record.ingress = stream.ingress;
  record.reason = stream.reason;
  record.detail = stream.detail.text();
  wire_->record(std::move(record));
}

void Http2Filter::tell_connection(const char* reason) {
  told_ = true;
  Record record;
  record.verdict = Verdict::refused;
  record.protocol = "http/2";
  record.begun = wire_->now();
  record.reason = reason;
  wire_->record(std::move(record));
}

size_t Http2Filter::memory() const {
  size_t sum = sizeof(*this) + front_.memory() + (back_ == nullptr ? 0 : back_->memory());
  for (const auto& [id, stream] : streams_) sum += sizeof(stream) + stream.detail.memory();
  return sum;
}

}  // namespace tandem::l7::http2
