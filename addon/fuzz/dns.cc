// SPDX-License-Identifier: Apache-2.0
// DNS over TCP with any bytes of both sides. What has to hold, by a second reading that shares no code with the filter:
// - the server gets whole messages that the client sent, unchanged and in their order, each with one question for a name below allowed.test;
// - the client gets whole messages: of the server, unchanged, with the number and the question of one that was passed on and is not answered yet;
//   or of the proxy, an error without records, with the number of a message of the client.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "l7/dns/filter.h"
#include "l7/pattern.h"
#include "laws.h"

namespace {

using namespace tandem::l7;

using tandem::fuzz::hold;

unsigned byte_of(std::string_view text, size_t at) { return static_cast<unsigned char>(text[at]); }

std::string framed(std::string_view message) {
  std::string bytes;
  bytes.reserve(message.size() + 2);
  bytes += static_cast<char>(message.size() >> 8);
  bytes += static_cast<char>(message.size() & 0xff);
  return bytes.append(message);
}

// The whole messages at the front of a stream; `rest`: bytes behind them.
std::vector<std::string_view> messages_of(std::string_view stream, size_t& rest) {
  std::vector<std::string_view> messages;
  size_t at = 0;
  while (at + 2 <= stream.size()) {
    const size_t length = byte_of(stream, at) * 256 + byte_of(stream, at + 1);
    if (at + 2 + length > stream.size()) break;
    messages.push_back(stream.substr(at + 2, length));
    at += 2 + length;
  }
  rest = stream.size() - at;
  return messages;
}

// Labels in lower case, each with its length before it, then type and class; none: there is no whole question without pointers.
std::optional<std::string> question_of(std::string_view message) {
  std::string question;
  size_t at = 12;
  while (at < message.size() && byte_of(message, at) != 0) {
    const size_t length = byte_of(message, at);
    if (length > 63 || at + 1 + length >= message.size()) return std::nullopt;
    for (size_t each = 0; each <= length; each++) question.push_back(static_cast<char>(each == 0 ? length : tolower(byte_of(message, at + each))));
    at += 1 + length;
  }
  if (at + 5 > message.size()) return std::nullopt;
  return question.append(message.substr(at, 5));
}

bool is_allowed(std::string_view question) {
  constexpr std::string_view end("\7allowed\4test\0", 14);
  return question.size() > end.size() + 4 && question.compare(question.size() - end.size() - 4, end.size(), end) == 0;
}

std::string query_of(unsigned id, unsigned kind) {
  constexpr std::string_view names[] = {std::string_view("\1a\7allowed\4test\0", 16), std::string_view("\1b\7ALLOWED\4test\0", 16),
                                        std::string_view("\1a\6denied\4test\0", 15), std::string_view("\0", 1)};
  std::string query("\0\0\1\0\0\1\0\0\0\0\0\0", 12);
  query.reserve(48);
  query[1] = static_cast<char>(id);
  query += names[kind % 4];
  query += '\0';
  query += static_cast<char>(kind & 4 ? 28 : 1);
  query += '\0';
  return query += '\1';
}

std::string answer_to(std::string_view query) {
  std::string answer;
  answer.reserve(query.size() + 16);
  answer.append(query).append(std::string_view("\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\1", 16));
  if (answer.size() < 12) return answer;
  answer[2] = static_cast<char>(0x81);
  answer[7] = 1;
  return answer;
}

Demands demands() {
  std::string error;
  auto set = std::make_shared<RuleSet>();
  set->id = 1;
  set->protocol = Protocol::dns;
  set->dns.push_back({Pattern::make("(?:[-a-z0-9_]+[.])+allowed[.]test[.]", error)});
  Demands made;
  made.egress.stance = Stance::asks;
  made.egress.any_of.push_back(std::move(set));
  return made;
}

class Play {
 public:
  Play() : runner_(rules()) { runner_.use(std::make_unique<dns::DnsFilter>(shared())); }

  void feed(Side from, std::string_view bytes) {
    if (over()) return;
    sent_[static_cast<int>(from)] += bytes;
    runner_.feed(from, bytes);
  }

  void answer(unsigned which, unsigned at, unsigned change) {
    // Where each message lies, as what is passed on grows.
    const std::string_view passed = runner_.out(Side::server).bytes;
    while (read_to_ + 2 <= passed.size()) {
      const size_t length = byte_of(passed, read_to_) * 256 + byte_of(passed, read_to_ + 1);
      if (read_to_ + 2 + length > passed.size()) break;
      forwarded_.emplace_back(read_to_ + 2, length);
      read_to_ += 2 + length;
    }
    if (forwarded_.empty()) return;
    const auto [start, length] = forwarded_[which % forwarded_.size()];
    std::string message = answer_to(passed.substr(start, length));
    message[at % message.size()] = static_cast<char>(message[at % message.size()] ^ static_cast<char>(change));
    feed(Side::server, framed(message));
  }

  const Runner& runner() const { return runner_; }
  bool over() const { return runner_.out(Side::client).reset || runner_.out(Side::server).reset; }

  void check() const {
    size_t rest = 0, ignored = 0;
    const auto asked = messages_of(sent_[0], ignored), told = messages_of(sent_[1], ignored);
    const auto forwarded = messages_of(runner_.out(Side::server).bytes, rest);
    hold(rest == 0, "the server gets whole messages");
    size_t from = 0;
    std::vector<std::pair<std::string_view, std::string>> open;  // number, question
    for (const std::string_view each : forwarded) {
      const auto found = std::find(asked.begin() + static_cast<ptrdiff_t>(from), asked.end(), each);
      hold(found != asked.end(), "the server gets what the client sent, in order");
      from = static_cast<size_t>(found - asked.begin()) + 1;
      auto question = question_of(each);
      hold(question && is_allowed(*question), "only allowed names are asked for");
      hold((byte_of(each, 2) & 0xf8) == 0 && each.substr(4, 6) == std::string_view("\0\1\0\0\0\0", 6), "one question, and no answer, passes");
      open.emplace_back(each.substr(0, 2), std::move(*question));
    }
    const auto got = messages_of(runner_.out(Side::client).bytes, rest);
    hold(rest == 0, "the client gets whole messages");
    std::vector<std::string_view> left = told;
    for (const std::string_view each : got) {
      hold(each.size() >= 12 && (byte_of(each, 2) & 0x80) != 0, "the client gets answers");
      const auto number = each.substr(0, 2);
      const auto question = question_of(each);
      const auto is_its = [&](const auto& one) {
        return one.first == number && ((question && one.second == *question) || (each.size() == 12 && byte_of(each, 5) == 0 && (byte_of(each, 3) & 15) != 0));
      };
      const auto source = std::find(left.begin(), left.end(), each);
      const auto match = std::find_if(open.begin(), open.end(), is_its);
      if (source != left.end() && match != open.end()) {
        left.erase(source);
        open.erase(match);
        continue;
      }
      hold((byte_of(each, 3) & 15) != 0 && each.substr(6, 4) == std::string_view("\0\0\0\0", 4), "what the proxy says itself is an error");
      const auto has_number = [&](std::string_view one) { return one.size() >= 2 && one.substr(0, 2) == number; };
      hold(std::any_of(asked.begin(), asked.end(), has_number), "it is an answer to something");
    }
  }

 private:
  static const Demands& rules() {
    static const Demands made = demands();
    return made;
  }
  static const std::shared_ptr<dns::Shared>& shared() {
    static const auto made = std::make_shared<dns::Shared>();
    return made;
  }

  Runner runner_;
  std::string sent_[2];
  // What there is to answer, and how far it was read.
  std::vector<std::pair<size_t, size_t>> forwarded_;  // where, how long
  size_t read_to_ = 0;
};

}  // namespace

// A step is a byte that says what it is, and what it needs: bytes of one side, a question, or an answer with a byte changed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::Input input(data, size);
  tandem::fuzz::Draw draw(data, size);
  tandem::fuzz::Length length(draw);
  Play play;
  while (!input.is_over() && !length.is_reached(play.runner())) {
    const unsigned step = input.next();
    switch (step % 5) {
      case 0:
      case 1:
        play.feed(step % 5 == 0 ? Side::client : Side::server, input.take(input.next()));
        break;
      case 2:
        play.feed(Side::client, framed(query_of(step / 5 % 4, step / 20)));
        break;
      case 3:
        play.answer(step / 5, 0, 0);
        break;
      case 4: {
        const unsigned where = input.next();
        play.answer(step / 5, where, input.next());
        break;
      }
    }
  }
  play.check();
  return 0;
}
