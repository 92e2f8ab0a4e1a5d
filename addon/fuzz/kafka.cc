// SPDX-License-Identifier: Apache-2.0
// Kafka with any bytes of both sides. What has to hold:
// - the server gets whole requests of the client, unchanged and in their order (of the last one perhaps a part), none of which names the topic "evil"
//   in a layout that is known;
// - a request that names allowed topics alone passes;
// - the client gets whole answers (of the last one perhaps a part): each with the number of a request of its own, in the order of these;
// - how the client's bytes are split changes nothing, and a connection holds a bounded part of what came.
#include <memory>
#include <optional>
#include <vector>

#include "l7/kafka/filter.h"
#include "l7/runner.h"
#include "laws.h"

namespace {

using namespace tandem::l7;
using tandem::fuzz::hold;

const Limits limits;

const Demands& demands() {
  static const Demands made = [] {
    auto set = std::make_shared<RuleSet>();
    set->protocol = Protocol::kafka;
    for (const char* topic : {"good", "fine"}) {
      KafkaRule rule;
      rule.topic = topic;
      set->kafka.push_back(rule);
    }
    return tandem::fuzz::demands_of(std::move(set));
  }();
  return made;
}

void add_number(std::string& out, uint64_t value, size_t size) {
  while (size-- > 0) out += static_cast<char>(value >> (8 * size));
}

void add_text(std::string& out, std::string_view value) {
  add_number(out, value.size(), 2);
  out += value;
}

// Writes the size of what follows into the first four bytes.
std::string sized(std::string frame) {
  for (size_t at = 0; at < 4; at++) frame[at] = static_cast<char>((frame.size() - 4) >> (8 * (3 - at)));
  return frame;
}

constexpr std::string_view topics[] = {"good", "fine", "evil", "goo"};

// Versions without flexible sizes, written by hand from Kafka's own description.
std::string request(tandem::fuzz::Input& input, uint32_t id, bool& names_evil, bool& is_answered) {
  constexpr unsigned keys[] = {0, 1, 3, 20, 12}, versions[] = {2, 4, 1, 1, 0};
  const unsigned shape = input.next(), count = shape >> 6, kind = shape % 5;
  const unsigned version = kind == 0 ? 2 + (shape >> 3) % 6 : versions[kind];
  names_evil = false;
  is_answered = kind != 0 || !(shape & 32);
  std::string out(4, '\0');
  out.reserve(192);
  add_number(out, keys[kind], 2);
  add_number(out, version, 2);
  add_number(out, id, 4);
  add_text(out, "c");
  switch (kind) {
    case 0:  // produce: transaction, acknowledgements, time
      if (version >= 3) add_number(out, 0xffff, 2);
      add_number(out, is_answered ? 1 : 0, 2);
      add_number(out, 5, 4);
      break;
    case 1:  // fetch: replica, time, least, most, isolation
      add_number(out, UINT32_MAX, 4);
      for (const unsigned value : {1, 1, 1}) add_number(out, value, 4);
      add_number(out, 0, 1);
      break;
    case 4:  // heartbeat: group, generation, member
      add_text(out, "g");
      add_number(out, 1, 4);
      add_text(out, "m");
      return sized(std::move(out));
    default:  // metadata, deleteTopics: names alone
      break;
  }
  add_number(out, count, 4);
  for (unsigned at = 0; at < count; at++) {
    const size_t topic = input.next() % 4;
    names_evil = names_evil || topic >= 2;
    add_text(out, topics[topic]);
    if (kind < 2) {  // one partition
      add_number(out, 1, 4);
      add_number(out, 3, 4);
    }
    if (kind == 0) {
      add_number(out, 5, 4);
      out.append(5, 'r');
    } else if (kind == 1) {
      add_number(out, 9, 8);
      add_number(out, 100, 4);
    }
  }
  if (kind == 3) add_number(out, 5, 4);
  return sized(std::move(out));
}

// Frames at the front; `rest`: how much of the last one is there.
std::vector<std::string_view> frames_of(std::string_view bytes, std::string_view& rest) {
  std::vector<std::string_view> found;
  size_t at = 0;
  while (bytes.size() - at >= 4) {
    size_t size = 0;
    for (size_t each = 0; each < 4; each++) size = size << 8 | static_cast<unsigned char>(bytes[at + each]);
    if (size > bytes.size() - at - 4) break;
    found.push_back(bytes.substr(at, size + 4));
    at += size + 4;
  }
  rest = bytes.substr(at);
  return found;
}

std::unique_ptr<Runner> start() {
  auto runner = std::make_unique<Runner>(demands());
  runner->use(std::make_unique<kafka::KafkaFilter>(limits));
  return runner;
}

void check(const Runner& run, const std::string& sent) {
  std::string_view rest, ignored;
  const std::vector<std::string_view> given = frames_of(sent, ignored), passed = frames_of(run.out(Side::server).bytes, rest);
  size_t next = 0;
  for (const std::string_view each : passed) {
    while (next < given.size() && given[next] != each) next++;
    hold(next < given.size(), "the server gets requests of the client, unchanged and in order");
    next++;
  }
  hold(rest.empty() || sent.find(rest) != std::string::npos, "and a part of the last one");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::Input input(data, size);
  tandem::fuzz::Draw draw(data, size);
  tandem::fuzz::Length length(draw);
  const auto play = start();
  std::string sent;
  std::vector<std::string> good;
  std::vector<uint32_t> answered;
  bool is_clean = true;
  uint32_t id = 0;
  while (!input.is_over() && sent.size() < 16384 && !length.is_reached(*play)) {
    const unsigned step = input.next();
    std::string bytes;
    if (step % 8 == 0) {
      bytes = input.take(1 + input.next() % 64);
      is_clean = false;
    } else if (step % 8 < 3 && !answered.empty()) {
      // Of the one that is next, of another, or garbage; whole or in parts.
      const uint32_t which = step & 64 ? answered.front() : input.next();
      std::string answer(4, '\0');
      add_number(answer, which, 4);
      answer = sized(answer.append(input.next() % 40, 'a'));
      if (step & 128) answer = input.take(1 + input.next() % 16);
      const std::string_view view = answer;
      const size_t cut = input.next() % (view.size() + 1);
      play->feed(Side::server, view.substr(0, cut));
      play->feed(Side::server, view.substr(cut));
      if (step & 64 && !(step & 128)) answered.erase(answered.begin());
      else is_clean = false;
      continue;
    } else {
      bool evil = false, is_answered = false;
      bytes = request(input, ++id, evil, is_answered);
      if (step % 8 == 7) {
        bytes[input.next() % bytes.size()] ^= static_cast<char>(input.next());
        is_clean = false;
      }
      if (is_clean && evil && !is_answered) is_clean = false;  // it ends the connection
      if (is_clean && !evil) {
        good.push_back(bytes);
        if (is_answered) answered.push_back(id);
      }
    }
    play->feed(Side::client, bytes);
    sent += bytes;
  }
  check(*play, sent);
  if (is_clean) {
    std::string_view rest;
    const std::vector<std::string_view> passed = frames_of(play->out(Side::server).bytes, rest);
    hold(std::equal(passed.begin(), passed.end(), good.begin(), good.end()) && rest.empty(), "allowed requests pass, and no others");
    const std::vector<std::string_view> told = frames_of(play->out(Side::client).bytes, rest);
    hold(rest.empty(), "whole answers");
    uint32_t last = 0;
    for (const std::string_view answer : told) {
      uint32_t number = 0;
      for (size_t at = 4; at < 8; at++) number = number << 8 | static_cast<unsigned char>(answer[at]);
      hold(number > last, "answers in the order of their requests");
      last = number;
    }
  }
  hold(play->filter().memory() < limits.message + 65536, "a connection holds a bounded part");
  // Twice as much work as all of the above: of one input in four.
  if (draw.next(4) != 0) return 0;
  const auto whole = start(), split = start();
  whole->feed(Side::client, sent);
  tandem::fuzz::feed_in_pieces(*split, sent, draw);
  check(*whole, sent);
  hold(whole->out(Side::server).bytes == split->out(Side::server).bytes, "how bytes are split changes nothing for the server");
  hold(whole->out(Side::client).bytes == split->out(Side::client).bytes, "how bytes are split changes nothing for the client");
  return 0;
}
