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
#include "l7/tls/filter.h"
#include "laws.h"

namespace {

using namespace tandem::l7;
using tandem::fuzz::hold;

const std::string alert("\x15\x03\x03\x00\x02\x02\x31", 7);

void add_number(std::string& text, size_t value, size_t bytes) {
  while (bytes-- > 0) text.push_back(static_cast<char>(value >> (8 * bytes)));
}

void add_sized(std::string& text, std::string_view bytes, size_t length_bytes) {
  add_number(text, bytes.size(), length_bytes);
  text += bytes;
}

// A name by number; the even ones are allowed.
const std::string& name_of(unsigned which) {
  static const std::string names[] = {"api.allowed.test", "api.denied.test", "A.ALLOWED.test", "allowed.test.example", "x-1.allowed.test", ""};
  return names[which % 6];
}

std::string hello_of(unsigned name, unsigned kind, size_t record) {
  const std::string& host = name_of(name);
  std::string extensions;
  extensions.reserve(640);
  if (kind & 1) extensions += std::string_view("\0\x2b\0\3\2\3\4", 7);  // supported_versions
  if (!host.empty()) {
    add_number(extensions, 0, 2);
    add_number(extensions, host.size() + 5, 2);
    add_number(extensions, host.size() + 3, 2);
    extensions += '\0';
    add_sized(extensions, host, 2);
  }
  if (kind & 2) {
    add_number(extensions, 21, 2);  // padding
    add_number(extensions, kind * 2, 2);
    extensions.append(kind * 2, '\0');
  }
  std::string message("\1\0\0\0\3\3", 6);
  message.reserve(768);
  message.append(32, 'r');
  message += static_cast<char>(kind & 4 ? 32 : 0);
  message.append(kind & 4 ? 32 : 0, 's');
  message += std::string_view("\0\2\x13\1\1\0", 6);  // one suite, no compression
  add_sized(message, extensions, 2);
  message[2] = static_cast<char>((message.size() - 4) >> 8);
  message[3] = static_cast<char>(message.size() - 4);
  std::string records;
  records.reserve(message.size() + 5 * (message.size() / record + 1));
  for (size_t at = 0; at < message.size(); at += record) {
    records += std::string_view("\x16\3\1", 3);
    add_sized(records, std::string_view(message).substr(at, record), 2);
  }
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

  // The first segments have that size, and the last one holds what is left.
  void client(std::string_view bytes, size_t segment, size_t segments = SIZE_MAX) {
    sent_ += bytes;
    for (; !bytes.empty(); segments--) {
      const size_t count = segments == 1 ? bytes.size() : std::min(bytes.size(), segment);
      runner_.feed(Side::client, bytes.substr(0, count));
      bytes.remove_prefix(count);
    }
  }

  void server(std::string_view bytes) {
    if (passes()) told_ += bytes;
    runner_.feed(Side::server, bytes);
  }

  bool passes() const { return !runner_.out(Side::server).bytes.empty(); }
  const std::string& got() const { return runner_.out(Side::client).bytes; }
  const std::string& sent() const { return sent_; }
  const Runner& runner() const { return runner_; }

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
// some size. Some segments, as each is a call of the filter; once in 32 inputs as many as there are.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::fuzz::Input input(data, size);
  tandem::fuzz::Draw draw(data, size);
  tandem::fuzz::Length length(draw);
  Play play;
  const bool is_fine = draw.next(32) == 0;
  while (!input.is_over() && play.sent().size() < limits.head / 2 && !length.is_reached(play.runner())) {
    const unsigned step = input.next();
    const size_t segments = is_fine ? SIZE_MAX : 1 + draw.next(8);
    if (step % 4 < 2) {
      const std::string_view bytes = input.take(input.next());
      if (step % 4 == 0) play.client(bytes, 1 + step / 4, segments);
      else play.server(bytes);
      continue;
    }
    const unsigned name = input.next(), kind = input.next();
    const size_t record = 1 + input.next(), segment = 1 + input.next();
    std::string hello = hello_of(name, kind, record);
    if (step % 4 == 3) {
      const size_t where = (input.next() * 256 + input.next()) % hello.size();
      hello[where] = static_cast<char>(hello[where] ^ static_cast<char>(input.next()));
    }
    const bool is_first = play.sent().empty();
    play.client(hello, segment, segments);
    if (!is_first || step % 4 == 3) continue;
    if (name % 6 % 2 == 0) hold(play.passes(), "a hello without faults passes if its name is allowed");
    else hold(play.got() == alert, "a hello that names another server, or none, gets the alert");
  }
  play.check();
  Play whole;
  whole.client(play.sent(), SIZE_MAX);
  hold(whole.passes() == play.passes(), "how bytes are split into segments changes nothing");
  return 0;
}
