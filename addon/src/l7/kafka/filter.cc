// SPDX-License-Identifier: Apache-2.0
#include "l7/kafka/filter.h"

#include <algorithm>

#include "l7/json.h"
#include "l7/kafka/protocol.h"

namespace tandem::l7::kafka {
namespace {

// What brokers take by default (socket.request.max.bytes); beyond, it is something else than Kafka.
constexpr uint64_t most_message = uint64_t{100} << 20;
constexpr size_t most_told = 16;  // topics of a record

uint64_t size_at(std::string_view bytes) {
  uint64_t size = 0;
  for (int at = 0; at < 4; at++) size = size << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(at)]);
  return size;
}

int32_t number_at(std::string_view bytes, size_t at) { return static_cast<int32_t>(size_at(bytes.substr(at))); }

std::vector<std::string> names_of(const std::optional<std::vector<Topic>>& topics) {
  std::vector<std::string> names;
  if (!topics.has_value()) return names;
  for (const Topic& topic : *topics) {
    if (names.size() == most_told) break;
    names.push_back(topic.name);
  }
  return names;
}

// Milliseconds of a time that are left after so many nanoseconds; 0: it is never over.
uint32_t left_of(uint32_t timeout, uint64_t passed) {
  if (timeout == 0) return 0;
  const uint64_t milliseconds = passed / 1'000'000;
  return milliseconds >= timeout ? 1 : timeout - static_cast<uint32_t>(milliseconds);
}

}  // namespace

size_t KafkaFilter::receive(Side from, std::string_view bytes, Wire& wire) {
  if (is_over_) return bytes.size();
  const size_t taken = from == Side::client ? from_client(bytes, wire) : from_server(bytes, wire);
  if (!is_over_) rearm(wire);
  return taken;
}

size_t KafkaFilter::from_client(std::string_view bytes, Wire& wire) {
  if (passes_) {
    passes_ = false;
    request_is_over(wire);
    return 0;
  }
  if (!collected_.empty()) return collect(bytes, wire);
  return bytes.empty() || pending_.size() >= most_pending ? 0 : begin(bytes, wire);
}

size_t KafkaFilter::begin(std::string_view bytes, Wire& wire) {
  if (begun_ == 0) begun_ = wire.now();
  if (bytes.size() < 4) return 0;
  const uint64_t size = size_at(bytes);
  if (size < 8 || size > most_message) {
    refuse("what is no request of Kafka", wire);
    return bytes.size();
  }
  const std::string_view start = bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(bytes.size(), size + 4)));
  head_ = RequestHead();
  switch (read_head(start, head_)) {
    case Read::refused:
      refuse("a request whose head is not well-formed", wire);
      return bytes.size();
    case Read::more:
      if (start.size() == size + 4) refuse("a request that ends in its head", wire);
      else if (start.size() > limits_.head) refuse_size("a head that is too large", wire);
      return is_over_ ? bytes.size() : 0;
    case Read::whole:
      break;
  }
  const Judgement judgement = judge(nullptr, wire);
  // Records name topics also where no rule asks for them, except those of what is long: that passes without being kept.
  if (judgement.allowed && (!is_about_topics(head_.key) || size > limits_.head)) {
    forward(start, size + 4, judgement, std::nullopt, wire);
    return start.size();
  }
  // What is denied is read to its end, too: its answer names its topics.
  if (size > limits_.message) {
    refuse_size("a request that is too large to be read", wire);
    return bytes.size();
  }
  wanted_ = static_cast<size_t>(size) + 4;
  return collect(start, wire);
}

size_t KafkaFilter::collect(std::string_view bytes, Wire& wire) {
  const size_t taken = std::min(bytes.size(), wanted_ - collected_.size());
  collected_.append(bytes.substr(0, taken));
  if (collected_.size() < wanted_) return taken;
  const std::string request = std::move(collected_);
  collected_ = std::string();
  const std::optional<std::vector<Topic>> topics = read_topics(request, head_);
  const Judgement judgement = judge(&topics, wire);
  if (judgement.allowed) {
    forward(request, request.size(), judgement, topics, wire);
  } else {
    deny(judgement, topics, wire);
    if (!is_over_) request_is_over(wire);
  }
  return taken;
}

KafkaFilter::Judgement KafkaFilter::judge(Topics topics, Wire& wire) const {
  const Demands& demands = wire.demands();
  Judgement made;
  made.ingress = is_allowed(demands.egress, head_, topics, made.rules);
  made.allowed = made.ingress && is_allowed(demands.ingress, head_, topics, made.rules);
  return made;
}

void KafkaFilter::forward(std::string_view start, uint64_t size, const Judgement& judgement, const std::optional<std::vector<Topic>>& topics,
                          Wire& wire) {
  Pending pending{head_, begun_, judgement.rules, names_of(topics), "", false};
  wire.send(Side::server, start);
  if (head_.answered) pending_.push_back(std::move(pending));
  else tell(Verdict::forwarded, pending, 0, 0, nullptr, wire);
  if (size > start.size()) {
    passes_ = true;
    wire.pass(Side::client, size - start.size());
  } else {
    request_is_over(wire);
  }
}

void KafkaFilter::deny(const Judgement& judgement, const std::optional<std::vector<Topic>>& topics, Wire& wire) {
  Pending pending{head_, begun_, 0, names_of(topics), "", judgement.ingress};
  const bool tells_topics = !is_about_topics(head_.key) || topics.has_value();
  if (tells_topics && head_.answered) pending.answer = denial(head_, topics.value_or(std::vector<Topic>()));
  if (pending.answer.empty()) {
    // As a server does whose client wants no answer, or understands none: the end of the connection tells it.
    tell(Verdict::denied, pending, 0, denied, nullptr, wire);
    close(Ending::finish, wire);
    return;
  }
  pending_.push_back(std::move(pending));
  answer_in_turn(wire);
}

void KafkaFilter::answer_in_turn(Wire& wire) {
  if (answer_passes_) return;
  while (!pending_.empty() && !pending_.front().answer.empty()) {
    wire.send(Side::client, pending_.front().answer);
    tell(Verdict::denied, pending_.front(), 0, denied, nullptr, wire);
    pending_.pop_front();
  }
  if (pending_.empty() && begun_ == 0 && (draining_ || client_ended_)) close(Ending::finish, wire);
}

void KafkaFilter::request_is_over(Wire& wire) {
  begun_ = 0;
  if (pending_.empty() && (draining_ || client_ended_)) close(Ending::finish, wire);
}

size_t KafkaFilter::from_server(std::string_view bytes, Wire& wire) {
  if (answer_passes_) {
    answer_passes_ = false;
    answer_in_turn(wire);
  }
  if (bytes.empty() || is_over_) return bytes.size();
  if (pending_.empty()) {
    // Nobody asked.
    wire.end(Side::server, Ending::reset);
    return bytes.size();
  }
  if (bytes.size() < 8) return 0;
  const Pending& pending = pending_.front();
  const uint64_t size = size_at(bytes) + 4;
  if (size < 8 || size > most_message || number_at(bytes, 4) != pending.head.correlation) {
    tell(Verdict::failed, pending, 0, 0, "an answer to no request", wire);
    pending_.pop_front();
    close(Ending::reset, wire);
    return bytes.size();
  }
  const bool is_limited = pending.head.key == api_versions && size <= limits_.head && names_topics(wire.demands());
  if (is_limited && bytes.size() < size) return 0;
  const std::string_view start = bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(bytes.size(), size)));
  if (is_limited) {
    std::string answer(start);
    limit_versions(answer, pending.head.version);
    wire.send(Side::client, answer);
  } else {
    wire.send(Side::client, start);
  }
  tell(Verdict::forwarded, pending, wire.now(), 0, nullptr, wire);
  pending_.pop_front();
  answer_passes_ = size > start.size();
  if (answer_passes_) wire.pass(Side::server, size - start.size());
  else answer_in_turn(wire);
  return start.size();
}

// One timer: for a request that does not come to its end, for the answer that is next, or for a client that says nothing. Each answer has a time of
// its own, as a client that always has some on their way would else be cut off in the midst of its work.
void KafkaFilter::rearm(Wire& wire) {
  const Waits waits = begun_ != 0 && !passes_ ? Waits::request : pending_.empty() ? Waits::nothing : Waits::answer;
  const uint64_t since = waits == Waits::answer ? pending_.front().begun : 0;
  if (waits == waits_ && since == since_) return;
  waits_ = waits;
  since_ = since;
  if (waits == Waits::answer) wire.expire_after(left_of(limits_.request_timeout, wire.now() - since));
  else wire.expire_after(waits == Waits::request ? limits_.head_timeout : limits_.idle_timeout);
}

void KafkaFilter::expired(Wire& wire) {
  if (is_over_) return;
  if (waits_ == Waits::request) {
    wire.reached(Limit::head_timeout);
    refuse("a request that did not come in time", wire);
  } else {
    wire.reached(waits_ == Waits::answer ? Limit::request_timeout : Limit::idle_timeout);
    for (const Pending& pending : pending_) tell(Verdict::failed, pending, 0, 0, "no answer in time", wire);
    pending_.clear();
    close(Ending::finish, wire);
  }
}

void KafkaFilter::ended(Side from, std::string_view left, Wire& wire) {
  if (is_over_) return;
  if (from == Side::client) {
    client_ended_ = true;
    if (!left.empty() || begun_ != 0) {
      refuse("the client ended in the middle of a request", wire);
      return;
    }
    if (pending_.empty()) close(Ending::finish, wire);
    return;
  }
  failed(Side::server, 0, wire);
}

void KafkaFilter::failed(Side side, int error, Wire& wire) {
  if (is_over_) return;
  const char* reason = side == Side::client ? "the client broke off" : error == 0 ? "the server ended the connection" : "the server takes no connection, or broke off";
  for (const Pending& pending : pending_) tell(Verdict::failed, pending, 0, 0, reason, wire);
  pending_.clear();
  // Clients of Kafka find another broker, or come again.
  close(side == Side::client || error != 0 ? Ending::reset : Ending::finish, wire);
}

void KafkaFilter::drain(Wire& wire) {
  draining_ = true;
  if (!is_over_ && is_idle()) close(Ending::finish, wire);
}

void KafkaFilter::refuse(const char* reason, Wire& wire) {
  const Pending pending{head_, begun_, 0, {}, "", false};
  tell(Verdict::refused, pending, 0, 0, reason, wire);
  close(Ending::finish, wire);
}

void KafkaFilter::refuse_size(const char* reason, Wire& wire) {
  wire.reached(Limit::head);
  refuse(reason, wire);
}

void KafkaFilter::close(Ending ending, Wire& wire) {
  for (const Pending& pending : pending_) tell(Verdict::failed, pending, 0, 0, "the connection ended before its answer", wire);
  pending_.clear();
  wire.end(Side::server, Ending::reset);
  wire.end(Side::client, ending);
  wire.expire_after(0);
  is_over_ = true;
}

void KafkaFilter::tell(Verdict verdict, const Pending& pending, uint64_t answered, int16_t error, const char* reason, Wire& wire) {
  Record record;
  record.verdict = verdict;
  record.protocol = "kafka";
  record.begun = pending.begun;
  record.answered = answered;
  record.rules = pending.rules;
  record.ingress = pending.ingress;
  if (reason != nullptr) record.reason = reason;
  std::string& detail = record.detail;
  detail = "\"kafka\":{\"apiKey\":" + std::to_string(pending.head.key) + ",\"apiVersion\":" + std::to_string(pending.head.version) +
           ",\"correlationId\":" + std::to_string(pending.head.correlation) + ",\"clientId\":";
  append_json(detail, pending.head.client);
  detail += ",\"topics\":[";
  for (const std::string& topic : pending.topics) {
    if (detail.back() != '[') detail += ",";
    append_json(detail, topic);
  }
  detail += "],\"error\":" + std::to_string(error) + "}";
  wire.record(std::move(record));
}

size_t KafkaFilter::memory() const {
  size_t sum = sizeof(*this) + collected_.capacity() + pending_.size() * sizeof(Pending);
  for (const Pending& pending : pending_) sum += pending.answer.capacity() + pending.head.client.capacity() + 64 * pending.topics.size();
  return sum;
}

}  // namespace tandem::l7::kafka
