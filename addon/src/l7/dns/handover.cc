// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/handover.h"

#include <cstring>

namespace tandem::l7::dns {
namespace {

// Another layout has another one.
constexpr uint32_t layout = 0x444e5301;

template <typename Number>
void put(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void put_text(std::string& out, const std::string& text) {
  put(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

void put_place(std::string& out, const Place& place) {
  put(out, place.address.length);
  out.append(reinterpret_cast<const char*>(place.address.bytes.data()), place.address.bytes.size());
  put(out, place.port);
}

struct Reader {
  std::string_view left;
  bool is_good = true;

  template <typename Number>
  void take(Number& number) {
    is_good = is_good && left.size() >= sizeof(number);
    if (!is_good) return;
    memcpy(&number, left.data(), sizeof(number));
    left.remove_prefix(sizeof(number));
  }

  void take(std::string& text) {
    uint32_t size = 0;
    take(size);
    is_good = is_good && left.size() >= size;
    if (!is_good) return;
    text = std::string(left.substr(0, size));
    left.remove_prefix(size);
  }

  void take(Place& place) {
    take(place.address.length);
    take(place.address.bytes);
    take(place.port);
    is_good = is_good && (place.address.length == 4 || place.address.length == 16);
  }
};

}  // namespace

std::string write_handover(const Handover& handover) {
  std::string out;
  put(out, layout);
  put(out, static_cast<uint32_t>(handover.known.size()));
  for (const KnownAddress& each : handover.known) {
    put_text(out, each.place);
    put(out, each.endpoint);
    put_text(out, each.name);
    put(out, each.until);
  }
  put(out, static_cast<uint32_t>(handover.questions.size()));
  for (const auto& [path, asked] : handover.questions) {
    put_place(out, path.client);
    put_place(out, path.server);
    put(out, asked.id);
    put_text(out, asked.question.name);
    put(out, asked.question.type);
    put(out, asked.question.kind);
    put(out, asked.rules);
    put(out, asked.begun);
  }
  return out;
}

Handover read_handover(std::string_view bytes) {
  Handover handover;
  Reader reader{bytes};
  uint32_t number = 0, count = 0;
  reader.take(number);
  if (!reader.is_good || number != layout) return handover;
  reader.take(count);
  for (uint32_t each = 0; each < count && reader.is_good; each++) {
    KnownAddress known;
    reader.take(known.place);
    reader.take(known.endpoint);
    reader.take(known.name);
    reader.take(known.until);
    if (reader.is_good) handover.known.push_back(std::move(known));
  }
  count = 0;
  reader.take(count);
  for (uint32_t each = 0; each < count && reader.is_good; each++) {
    UnderWay under_way;
    reader.take(under_way.path.client);
    reader.take(under_way.path.server);
    reader.take(under_way.asked.id);
    reader.take(under_way.asked.question.name);
    reader.take(under_way.asked.question.type);
    reader.take(under_way.asked.question.kind);
    reader.take(under_way.asked.rules);
    reader.take(under_way.asked.begun);
    under_way.asked.is_shared = true;
    if (reader.is_good) handover.questions.push_back(std::move(under_way));
  }
  return handover;
}

}  // namespace tandem::l7::dns
