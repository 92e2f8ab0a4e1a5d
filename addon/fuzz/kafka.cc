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

std::string number(uint64_t value, size_t size) {
  std::string out;
  while (size-- > 0) out += static_cast<char>(value >> (8 * size));
  return out;
}

std::string text(const std::string& value) { return number(value.size(), 2) + value; }

std::string sized(const std::string& bytes) { return number(bytes.size(), 4) + bytes; }

const char* const topics[] = {"good", "fine", "evil", "goo"};

// Versions without flexible sizes, written by hand from Kafka's own description.
std::string request(tandem::fuzz::Input& input, uint32_t id, bool& names_evil, bool& is_answered) {
  const unsigned shape = input.next();
  const unsigned count = shape >> 6;
  std::string list = number(count, 4);
  names_evil = false;
  is_answered = true;
  std::string body;
  unsigned key = 0, version = 0;
  std::string of_topic;
  switch (shape % 5) {
    case 0:
      key = 0, version = 2 + (shape >> 3) % 6;
      is_answered = !(shape & 32);
      body = (version >= 3 ? number(0xffff, 2) : "") + number(is_answered ? 1 : 0, 2) + number(5, 4);
      of_topic = number(1, 4) + number(3, 4) + sized(std::string(5, 'r'));
      break;
    case 1:
      key = 1, version = 4;
      body = number(UINT32_MAX, 4) + number(1, 4) + number(1, 4) + number(1, 4) + number(0, 1);
      of_topic = number(1, 4) + number(3, 4) + number(9, 8) + number(100, 4);
      break;
    case 2:
      key = 3, version = 1;
      break;
    case 3:
      key = 20, version = 1;
      break;
    default:
      key = 12, version = 0;
      return sized(number(key, 2) + number(version, 2) + number(id, 4) + text("c") + text("g") + number(1, 4) + text("m"));
  }
  for (unsigned at = 0; at < count; at++) {
    const char* topic = topics[input.next() % 4];
    names_evil = names_evil || topic[0] == 'e' || topic == topics[3];
    list += text(topic) + of_topic;
  }
  body += list;
  if (key == 20) body += number(5, 4);
  return sized(number(key, 2) + number(version, 2) + number(id, 4) + text("c") + body);
}

// Frames at the front; `rest`: how much of the last one is there.
std::vector<std::string> frames_of(const std::string& bytes, std::string& rest) {
  std::vector<std::string> found;
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
  std::string rest, ignored;
  const std::vector<std::string> given = frames_of(sent, ignored), passed = frames_of(run.out(Side::server).bytes, rest);
  size_t next = 0;
  for (const std::string& each : passed) {
    while (next < given.size() && given[next] != each) next++;
    hold(next < given.size(), "the server gets requests of the client, unchanged and in order");
    next++;
  }
  hold(rest.empty() || sent.find(rest) != std::string::npos, "and a part of the last one");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::Input input(data, size);
  const auto play = start();
  std::string sent;
  std::vector<std::string> good;
  std::vector<uint32_t> answered;
  bool is_clean = true;
  uint32_t id = 0;
  while (!input.is_over() && sent.size() < 16384 && id < 200) {
    const unsigned step = input.next();
    std::string bytes;
    if (step % 8 == 0) {
      bytes = input.take(1 + input.next() % 64);
      is_clean = false;
    } else if (step % 8 < 3 && !answered.empty()) {
      // Of the one that is next, of another, or garbage; whole or in parts.
      const uint32_t which = step & 64 ? answered.front() : input.next();
      std::string answer = sized(number(which, 4) + std::string(input.next() % 40, 'a'));
      if (step & 128) answer = input.take(1 + input.next() % 16);
      const size_t cut = input.next() % (answer.size() + 1);
      play->feed(Side::server, answer.substr(0, cut));
      play->feed(Side::server, answer.substr(cut));
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
    std::string rest;
    hold(frames_of(play->out(Side::server).bytes, rest) == good && rest.empty(), "allowed requests pass, and no others");
    const std::vector<std::string> told = frames_of(play->out(Side::client).bytes, rest);
    hold(rest.empty(), "whole answers");
    uint32_t last = 0;
    for (const std::string& answer : told) {
      uint32_t number = 0;
      for (size_t at = 4; at < 8; at++) number = number << 8 | static_cast<unsigned char>(answer[at]);
      hold(number > last, "answers in the order of their requests");
      last = number;
    }
  }
  hold(play->filter().memory() < limits.message + 65536, "a connection holds a bounded part");
  const auto whole = start(), split = start();
  whole->feed(Side::client, sent);
  const size_t piece = 1 + sent.size() % 13;
  for (size_t at = 0; at < sent.size(); at += piece) split->feed(Side::client, std::string_view(sent).substr(at, piece));
  check(*whole, sent);
  hold(whole->out(Side::server).bytes == split->out(Side::server).bytes, "how bytes are split changes nothing for the server");
  hold(whole->out(Side::client).bytes == split->out(Side::client).bytes, "how bytes are split changes nothing for the client");
  return 0;
}
