// SPDX-License-Identifier: Apache-2.0
// Names of TLS with any bytes of both sides. What has to hold, by a second reading that shares no code with the filter:
// - the server gets nothing, or every byte of the client, and these begin with a ClientHello that names one server, an allowed one;
// - the client gets every byte of the server from then on; where nothing was passed on, nothing or the alert;
// - a hello without faults passes if its name is allowed, and gets the alert if not, however it is split over records and segments;
// - how bytes are split into segments changes nothing.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "l7/pattern.h"
#include "l7/runner.h"
#include "l7/tls/filter.h"

namespace {

using namespace tandem::l7;

const std::string alert("\x15\x03\x03\x00\x02\x02\x31", 7);

void hold(bool law, const char* text) {
  if (law) return;
  fprintf(stderr, "broken: %s\n", text);
  abort();
}

std::string number(size_t value, size_t bytes) {
  std::string text;
  while (bytes-- > 0) text.push_back(static_cast<char>(value >> (8 * bytes)));
  return text;
}

std::string sized(const std::string& bytes, size_t length_bytes) { return number(bytes.size(), length_bytes) + bytes; }

// A name by number; the even ones are allowed.
const std::string& name_of(unsigned which) {
  static const std::string names[] = {"api.allowed.test", "api.denied.test", "A.ALLOWED.test", "allowed.test.example", "x-1.allowed.test", ""};
  return names[which % 6];
}

std::string hello_of(unsigned name, unsigned kind, size_t record) {
  std::string extensions;
  if (kind & 1) extensions += number(43, 2) + sized(std::string("\2\3\4", 3), 2);
  if (!name_of(name).empty()) extensions += number(0, 2) + sized(sized(std::string(1, '\0') + sized(name_of(name), 2), 2), 2);
  if (kind & 2) extensions += number(21, 2) + sized(std::string(kind * 2, '\0'), 2);
  const std::string body = std::string("\3\3", 2) + std::string(32, 'r') + sized(std::string(kind & 4 ? 32 : 0, 's'), 1) +
                           sized(std::string("\x13\x01", 2), 2) + sized(std::string(1, '\0'), 1) + sized(extensions, 2);
  const std::string message = "\1" + sized(body, 3);
  std::string records;
  for (size_t at = 0; at < message.size(); at += record) records += std::string("\x16\3\1", 3) + sized(message.substr(at, record), 2);
  return records;
}

// The one name of the hello at the front, in lower case; none where there is no whole one, or one that may be read in two ways.
std::optional<std::string> named_by(const std::string& bytes) {
  const auto at = [](const std::string& text, size_t index, size_t count) {
    size_t value = 0;
    for (size_t each = 0; each < count; each++) value = value * 256 + static_cast<unsigned char>(text[index + each]);
    return value;
  };
  // Records are opened until they hold the message that they announce.
  std::string message;
  size_t next = 0;
  while (message.size() < 4 || message.size() < 4 + at(message, 1, 3)) {
    if (next + 5 > bytes.size() || at(bytes, next, 2) != 0x1603) return std::nullopt;
    const size_t length = at(bytes, next + 3, 2);
    if (length == 0 || length > 16384) return std::nullopt;
    message += bytes.substr(next + 5, length);
    next += 5 + length;
    if (next > bytes.size()) break;
  }
  if (message.size() < 4 || message[0] != 1) return std::nullopt;
  const size_t end = 4 + at(message, 1, 3);
  if (message.size() < end) return std::nullopt;
  size_t here = 4 + 34;
  for (const size_t width : {size_t{1}, size_t{2}, size_t{1}}) {  // session, suites, compression
    if (here + width > end) return std::nullopt;
    here += width + at(message, here, width);
  }
  if (here + 2 > end || here + 2 + at(message, here, 2) != end) return std::nullopt;
  here += 2;
  std::vector<std::string> names;
  while (here < end) {
    if (here + 4 > end) return std::nullopt;
    const size_t type = at(message, here, 2), size = at(message, here + 2, 2);
    here += 4;
    if (here + size > end) return std::nullopt;
    if (type == 0) {
      // One host_name, with the length of the list and its own.
      if (size < 6 || at(message, here, 2) != size - 2 || message[here + 2] != 0 || at(message, here + 3, 2) != size - 5) return std::nullopt;
      names.push_back(message.substr(here + 5, size - 5));
    }
    here += size;
  }
  if (names.size() != 1) return std::nullopt;
  std::transform(names[0].begin(), names[0].end(), names[0].begin(), [](unsigned char byte) { return static_cast<char>(tolower(byte)); });
  return names[0];
}

bool is_allowed(const std::string& name) {
  const std::string end = ".allowed.test";
  return name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") == name.size() - end.size();
}

const Demands& demands() {
  static const Demands made = [] {
    std::string error;
    auto set = std::make_shared<RuleSet>();
    set->id = 1;
    set->protocol = Protocol::tls;
    set->tls.push_back({Pattern::make("[-a-z0-9_]+[.]allowed[.]test", error)});
    Demands all;
    all.egress.stance = Stance::asks;
    all.egress.any_of.push_back(std::move(set));
    return all;
  }();
  return made;
}

const Limits limits;

class Play {
 public:
  Play() : runner_(demands()) { runner_.use(std::make_unique<tls::TlsFilter>(limits)); }

  void client(std::string_view bytes, size_t segment) {
    for (size_t at = 0; at < bytes.size(); at += segment) runner_.feed(Side::client, bytes.substr(at, segment));
    sent_ += bytes;
  }

  void server(const std::string& bytes) {
    if (passes()) told_ += bytes;
    runner_.feed(Side::server, bytes);
  }

  bool passes() const { return !runner_.out(Side::server).bytes.empty(); }
  const std::string& got() const { return runner_.out(Side::client).bytes; }
  const std::string& sent() const { return sent_; }

  void check() const {
    const auto& out = runner_.out(Side::server);
    if (!passes()) {
      hold(out.connections == 0, "nobody is connected to for what does not pass");
      hold(got().empty() || got() == alert, "a client that is denied gets the alert, once");
      return;
    }
    hold(out.bytes == sent_, "the server gets every byte of the client, as it was sent");
    hold(got() == told_, "the client gets every byte of the server");
    const auto name = named_by(sent_);
    hold(name && is_allowed(*name), "what passes names an allowed server");
  }

 private:
  Runner runner_;
  std::string sent_, told_;
};

}  // namespace

// A step is a byte that says what it is, and what it needs: bytes of one side, or a hello, perhaps with a byte changed, in records and segments of
// some size.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Play play;
  size_t at = 0;
  const auto next = [&]() -> unsigned { return at < size ? data[at++] : 0; };
  while (at < size && play.sent().size() < limits.head / 2) {
    const unsigned step = next();
    if (step % 4 < 2) {
      const size_t length = std::min<size_t>(next(), size - at);
      const std::string bytes(reinterpret_cast<const char*>(data + at), length);
      if (step % 4 == 0) play.client(bytes, 1 + step / 4);
      else play.server(bytes);
      at += length;
      continue;
    }
    const unsigned name = next(), kind = next();
    const size_t record = 1 + next(), segment = 1 + next();
    std::string hello = hello_of(name, kind, record);
    if (step % 4 == 3) {
      const size_t where = (next() * 256 + next()) % hello.size();
      hello[where] = static_cast<char>(hello[where] ^ static_cast<char>(next()));
    }
    const bool is_first = play.sent().empty();
    play.client(hello, segment);
    if (!is_first || step % 4 == 3) continue;
    if (name % 6 % 2 == 0) hold(play.passes(), "a hello without faults passes if its name is allowed");
    else hold(play.got() == alert, "a hello that names another server, or none, gets the alert");
  }
  play.check();
  Play whole;
  whole.client(play.sent(), SIZE_MAX / 2);
  hold(whole.passes() == play.passes(), "how bytes are split into segments changes nothing");
  return 0;
}
