// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/filter.h"

#include "l7/dns/detail.h"
#include "l7/dns/judge.h"

namespace tandem::l7::dns {
namespace {

constexpr uint64_t millisecond = 1'000'000;
// How often held answers are looked at: the filter knows no thread, so nobody can wake it.
constexpr uint32_t held_interval = 2;

size_t length_of(std::string_view bytes) { return static_cast<size_t>(static_cast<uint8_t>(bytes[0])) << 8 | static_cast<uint8_t>(bytes[1]); }

}  // namespace

size_t DnsFilter::receive(Side from, std::string_view bytes, Wire& wire) {
  // An answer may be longer than what the engine keeps, so everything is taken, and what is not whole is kept here.
  std::string& part = parts_[static_cast<size_t>(from)];
  const size_t taken = bytes.size();
  if (!part.empty()) bytes = part.append(bytes);
  const size_t most = from == Side::client ? shared_->options.most_message : UINT16_MAX;
  size_t at = 0;
  while (!is_over_ && bytes.size() - at >= 2) {
    const size_t length = length_of(bytes.substr(at));
    if (length < header_bytes || length > most) {
      refuse(length < header_bytes ? "a message shorter than a header" : "a question that is too long", wire);
      break;
    }
    if (bytes.size() - at - 2 < length) break;
    const std::string_view message = bytes.substr(at + 2, length);
    at += 2 + length;
    if (from == Side::client) ask(message, wire);
    else answer(message, wire);
  }
  part = is_over_ ? std::string() : std::string(bytes.substr(at));
  rearm(wire);
  return taken;
}

void DnsFilter::ask(std::string_view message, Wire& wire) {
  const uint64_t now = wire.now();
  Reading reading = read_query(message);
  if (!reading.query) {
    if (!reading.answer) return refuse(reading.reason, wire);
    shared_->counts.malformed++;
    send(Side::client, make_failure(message, *reading.answer), wire);
    Record record = record_of(Verdict::refused, now, "");
    record.reason = reading.reason;
    return wire.record(std::move(record));
  }
  const Query& query = *reading.query;
  const auto answered = [&](Verdict verdict, Code code, const char* reason, bool ingress) {
    send(Side::client, make_answer(message, query, code), wire);
    Record record = record_of(verdict, now, detail_of(query.question, code, nullptr));
    record.answered = now;
    record.ingress = ingress;
    record.reason = reason;
    wire.record(std::move(record));
  };
  const Judgement judgement = judge(query.question, wire.demands());
  if (!judgement.is_allowed) {
    shared_->counts.denied++;
    return answered(Verdict::denied, shared_->options.denied, "", judgement.ingress);
  }
  if (questions_.is_full()) {
    shared_->counts.overloaded++;
    return answered(Verdict::refused, Code::server_failure, "too many questions under way", false);
  }
  shared_->counts.forwarded++;
  questions_.add({query.id, query.question, judgement.rules, now});
  has_server_ = true;
  send(Side::server, message, wire);
}

void DnsFilter::answer(std::string_view message, Wire& wire) {
  const uint64_t now = wire.now();
  const auto read = read_answer(message);
  const auto asked = read ? questions_.take(*read) : std::nullopt;
  if (!asked) {
    shared_->counts.stray++;
    return;
  }
  Record record = record_of(Verdict::forwarded, asked->begun, detail_of(asked->question, read->code, &*read));
  record.answered = now;
  record.rules = asked->rules;
  const uint64_t ticket = shared_->names ? shared_->names->learn(wire.demands().egress, *read, now) : 0;
  wire.record(std::move(record));
  if (ticket == 0) return send(Side::client, message, wire);
  held_.push_back({ticket, now + shared_->options.most_delay * millisecond, std::string(message)});
}

void DnsFilter::send(Side to, std::string_view message, Wire& wire) {
  std::string framed;
  framed.reserve(message.size() + 2);
  framed.push_back(static_cast<char>(message.size() >> 8));
  framed.push_back(static_cast<char>(message.size() & 0xff));
  wire.send(to, framed.append(message));
}

// No way to answer, and no way to know where the next message begins: the connection ends.
void DnsFilter::refuse(const char* reason, Wire& wire) {
  shared_->counts.malformed++;
  Record record = record_of(Verdict::refused, wire.now(), "");
  record.reason = reason;
  wire.record(std::move(record));
  is_over_ = true;
  wire.end(Side::client, Ending::reset);
  if (has_server_) wire.end(Side::server, Ending::reset);
}

void DnsFilter::ended(Side from, std::string_view, Wire& wire) {
  if (is_over_) return;
  if (from == Side::client) {
    client_ended_ = true;
    if (has_server_ && !server_ended_) wire.end(Side::server, Ending::finish);
    if (!has_server_) wire.end(Side::client, Ending::finish);
    return;
  }
  server_ended_ = true;
  forget("the server closed the connection", wire);
  release(wire);
  rearm(wire);
}

void DnsFilter::failed(Side side, int, Wire& wire) {
  if (side == Side::server) forget("the server cannot be reached, or broke off", wire);
  is_over_ = true;
  held_.clear();
}

void DnsFilter::expired(Wire& wire) {
  if (is_over_) return;
  const uint64_t now = wire.now(), timeout = shared_->options.server_timeout * millisecond;
  while (const auto asked = questions_.expire(now > timeout ? now - timeout + 1 : 0)) {
    shared_->counts.silent++;
    Record record = record_of(Verdict::failed, asked->begun, detail_of(asked->question, Code::ok, nullptr));
    record.rules = asked->rules;
    record.reason = "no answer in time";
    wire.record(std::move(record));
  }
  release(wire);
  rearm(wire);
}

// Sends what waits no more.
void DnsFilter::release(Wire& wire) {
  const uint64_t now = wire.now();
  for (auto each = held_.begin(); each != held_.end();) {
    const bool is_open = shared_->names->is_open(each->ticket);
    if (!is_open && each->until > now) {
      each++;
      continue;
    }
    if (!is_open) shared_->counts.overdue++;
    send(Side::client, each->message, wire);
    each = held_.erase(each);
  }
  if (!server_ended_ || !held_.empty()) return;
  is_over_ = true;
  wire.end(Side::client, Ending::finish);
  if (!client_ended_) wire.end(Side::server, Ending::finish);
}

// Nobody will answer what is under way.
void DnsFilter::forget(const char* reason, Wire& wire) {
  while (const auto asked = questions_.expire(UINT64_MAX)) {
    Record record = record_of(Verdict::failed, asked->begun, detail_of(asked->question, Code::ok, nullptr));
    record.rules = asked->rules;
    record.reason = reason;
    wire.record(std::move(record));
  }
}

void DnsFilter::rearm(Wire& wire) {
  if (is_over_) return wire.expire_after(0);
  if (!held_.empty()) return wire.expire_after(held_interval);
  const auto oldest = questions_.oldest();
  if (!oldest) return wire.expire_after(0);
  const uint64_t waited = (wire.now() - *oldest) / millisecond;
  const uint32_t timeout = shared_->options.server_timeout;
  wire.expire_after(waited >= timeout ? 1 : timeout - static_cast<uint32_t>(waited));
}

size_t DnsFilter::memory() const {
  size_t bytes = questions_.memory() + parts_[0].capacity() + parts_[1].capacity();
  for (const Held& each : held_) bytes += sizeof(Held) + each.message.capacity();
  return bytes;
}

}  // namespace tandem::l7::dns
