// SPDX-License-Identifier: Apache-2.0
// HTTP/1 with any bytes of both sides. What has to hold, by a second reading that shares no code with the filter:
// - what the server gets is whole requests, one behind the other, each with its end where any reader finds it, and each for a path below /ok;
// - nothing follows a request that is refused, and no more requests are passed on than are told of;
// - how the client's bytes are split changes nothing;
// - a connection holds a bounded part of what came.
#include <memory>
#include <optional>
#include <vector>

#include "l7/http/filter.h"
#include "l7/runner.h"
#include "laws.h"

namespace {

using namespace tandem::l7;
using tandem::fuzz::hold;
using tandem::fuzz::http_demands;

const Limits limits;

bool same(std::string_view name, std::string_view lower) {
  const auto is_same = [](char mine, char its) { return (mine >= 'A' && mine <= 'Z' ? mine + 32 : mine) == its; };
  return name.size() == lower.size() && std::equal(name.begin(), name.end(), lower.begin(), is_same);
}

// A reader of requests as plain as one can be; anything that it does not know breaks a law.
class Reading {
 public:
  explicit Reading(const std::string& bytes) : bytes_(bytes) {}

  // Complete heads.
  size_t heads = 0;
  bool is_tunnel = false;

  void run() {
    while (at_ < bytes_.size() && !is_tunnel && request()) heads++;
  }

 private:
  std::optional<std::string_view> line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string::npos) return std::nullopt;
    hold(end > at_ && bytes_[end - 1] == '\r', "each line ends with CR LF");
    const std::string_view text = std::string_view(bytes_).substr(at_, end - at_ - 1);
    hold(text.find('\r') == std::string::npos && text.find('\0') == std::string::npos, "no CR and no NUL within a line");
    at_ = end + 1;
    return text;
  }

  // False: it is not all there.
  bool request() {
    const auto first = line();
    hold(first.has_value(), "a head is passed on whole");
    const size_t one = first->find(' '), two = one == std::string::npos ? one : first->find(' ', one + 1);
    hold(two != std::string::npos && first->find(' ', two + 1) == std::string::npos, "a request line has three words");
    const std::string_view target = first->substr(one + 1, two - one - 1), version = first->substr(two + 1);
    hold(version == "HTTP/1.1" || version == "HTTP/1.0", "a version of HTTP/1");
    // An absolute target is written anew only where the path is normalised to another; its path counts.
    const size_t scheme = target.find("://");
    const size_t slash = target[0] == '/' ? 0 : scheme == std::string::npos ? scheme : target.find('/', scheme + 3);
    hold(slash != std::string::npos && target.compare(slash, 3, "/ok") == 0, "only paths that a rule allows");
    // A query may have dots; no server resolves these.
    const bool has_dots = target.substr(0, target.find('?')).find("/../") != std::string_view::npos;
    hold(!has_dots && target.find('#') == std::string_view::npos, "no other path by dots or fragments");
    size_t lengths = 0, codings = 0, hosts = 0, length = 0;
    for (;;) {
      const auto field = line();
      hold(field.has_value(), "a head is passed on whole");
      if (field->empty()) break;
      const size_t colon = field->find(':');
      hold(colon != std::string::npos && colon > 0, "a field has a name");
      const std::string_view name = field->substr(0, colon);
      hold(name.find_first_of(" \t") == std::string::npos, "no blanks in a name");
      std::string_view value = field->substr(colon + 1);
      while (!value.empty() && (value[0] == ' ' || value[0] == '\t')) value.remove_prefix(1);
      while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
      if (same(name, "host")) hosts++;
      if (same(name, "upgrade")) is_tunnel = true;
      if (same(name, "transfer-encoding")) {
        codings++;
        hold(same(value, "chunked"), "no other coding than chunked");
      }
      if (same(name, "content-length")) {
        lengths++;
        hold(!value.empty() && value.size() < 19 && value.find_first_not_of("0123456789") == std::string::npos, "a length is a number");
        length = strtoull(std::string(value).c_str(), nullptr, 10);
      }
    }
    hold(hosts <= 1 && lengths <= 1 && codings <= 1 && lengths + codings <= 1, "one host, and one end of the body");
    if (codings > 0) return chunks();
    if (length > bytes_.size() - at_) {
      at_ = bytes_.size();
      heads++;
      return false;
    }
    at_ += length;
    return true;
  }

  bool cut() {
    at_ = bytes_.size();
    heads++;
    return false;
  }

  bool chunks() {
    for (;;) {
      if (bytes_.find('\n', at_) == std::string::npos) return cut();
      std::string_view size = *line();
      size = size.substr(0, size.find(';'));
      while (!size.empty() && (size.back() == ' ' || size.back() == '\t')) size.remove_suffix(1);
      hold(!size.empty() && size.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos && size.size() <= 16, "a chunk has a size");
      const uint64_t length = strtoull(std::string(size).c_str(), nullptr, 16);
      if (length == 0) break;
      if (length > bytes_.size() - at_) return cut();
      at_ += length;
      if (bytes_.size() - at_ < 2) return cut();
      hold(bytes_.compare(at_, 2, "\r\n") == 0, "a chunk ends with CR LF");
      at_ += 2;
    }
    for (;;) {
      if (bytes_.find('\n', at_) == std::string::npos) return cut();
      const std::string_view trailer = *line();
      if (trailer.empty()) return true;
      const std::string_view name = trailer.substr(0, trailer.find(':'));
      hold(!same(name, "content-length") && !same(name, "transfer-encoding") && !same(name, "host"), "trailers frame nothing");
    }
  }

  const std::string& bytes_;
  size_t at_ = 0;
};

constexpr std::string_view words[] = {"GET ", "POST ", "/ok ", "/no ", "/ok/../no ", "HTTP/1.1\r\n", "HTTP/1.0\r\n", "Host: a\r\n", "Content-Length: ",
                             "Transfer-Encoding: chunked\r\n", "\r\n", "5\r\n", "hello", "0\r\n\r\n", ": ", "x", "\n", "\r", " ", "\t", ";a=b",
                             "Connection: close\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\n", "http://a/ok ", "* ", "OPTIONS ", "CONNECT a:1 ",
                             "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n", "GET /no HTTP/1.1\r\nHost: a\r\n\r\n",
                             "POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
                             "POST /ok HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"};
constexpr std::string_view answers[] = {"HTTP/1.1 200 OK\r\n", "HTTP/1.1 204 No\r\n\r\n", "Content-Length: 5\r\n", "\r\nhello", "\r\n",
                               "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "Connection: close\r\n",
                               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 101 Up\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"};

std::unique_ptr<Runner> start() {
  auto runner = std::make_unique<Runner>(http_demands());
  runner->use(std::make_unique<http::HttpFilter>(limits, http::JudgeOptions{}));
  return runner;
}

size_t forwarded(const Runner& runner) {
  return static_cast<size_t>(std::count_if(runner.records().begin(), runner.records().end(),
                                           [](const Record& record) { return record.verdict == Verdict::forwarded; }));
}

}  // namespace

// A step: which side, and either some bytes or a word.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::Input input(data, size);
  tandem::fuzz::Draw draw(data, size);
  tandem::fuzz::Length length(draw);
  const auto play = start();
  std::string sent;
  while (!input.is_over() && sent.size() < 8192 && !length.is_reached(*play)) {
    const unsigned step = input.next();
    std::string_view bytes;
    if (step % 8 < 2) {
      bytes = input.take(1 + input.next() % 64);
    } else if (step % 8 == 7) {
      play->feed(Side::server, step & 128 ? input.take(1 + input.next() % 64) : answers[input.next() % std::size(answers)]);
      continue;
    } else {
      bytes = words[input.next() % std::size(words)];
    }
    play->feed(Side::client, bytes);
    sent += bytes;
  }
  // HTTP/2 has a fuzzer of its own.
  if (sent.substr(0, 24) == "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") return 0;
  const std::string& out = play->out(Side::server).bytes;
  // A connection that is made anew begins a new stream of requests, perhaps in the middle of the one before.
  if (play->out(Side::server).connections <= 1) {
    Reading reading(out);
    reading.run();
    if (!reading.is_tunnel) hold(forwarded(*play) <= reading.heads, "no more is told than was passed on");
  }
  hold(play->filter().memory() < 2 * limits.head + 8192, "a connection holds a bounded part");
  const auto whole = start(), split = start();
  whole->feed(Side::client, sent);
  tandem::fuzz::feed_in_pieces(*split, sent, draw);
  hold(whole->out(Side::server).bytes == split->out(Side::server).bytes, "how bytes are split changes nothing for the server");
  hold(whole->out(Side::client).bytes == split->out(Side::client).bytes, "how bytes are split changes nothing for the client");
  return 0;
}
