// SPDX-License-Identifier: Apache-2.0
#include "l7/runner.h"

#include <algorithm>
#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TANDEM_HIDES 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TANDEM_HIDES 1
#endif
#ifdef TANDEM_HIDES
#include <sanitizer/asan_interface.h>
#endif

namespace tandem::l7 {

#ifdef TANDEM_HIDES
Runner::Shown::~Shown() {
  if (size_ > 0) ASAN_UNPOISON_MEMORY_REGION(block_.get(), size_);
}

std::string_view Runner::Shown::show(std::string_view bytes) {
  shown_ = (bytes.size() + 8) / 8 * 8;  // whole granules of the shadow, and a byte behind the end at least
  if (size_ - at_ < shown_) at_ = 0;
  if (size_ < shown_) {
    if (size_ > 0) ASAN_UNPOISON_MEMORY_REGION(block_.get(), size_);
    size_ = std::max<size_t>(4 * shown_, 1024);
    block_.reset(new char[size_]);
    ASAN_POISON_MEMORY_REGION(block_.get(), size_);
  }
  char* const place = block_.get() + at_;
  ASAN_UNPOISON_MEMORY_REGION(place, bytes.size());
  if (!bytes.empty()) memcpy(place, bytes.data(), bytes.size());
  return std::string_view(place, bytes.size());
}

void Runner::Shown::hide() {
  ASAN_POISON_MEMORY_REGION(block_.get() + at_, shown_);
  at_ += shown_;
}
#else
Runner::Shown::~Shown() = default;
std::string_view Runner::Shown::show(std::string_view bytes) { return bytes; }
void Runner::Shown::hide() {}
#endif

void Runner::use(std::unique_ptr<Filter> filter) {
  filter_ = std::move(filter);
  filter_->receive(Side::client, "", *this);
}

void Runner::feed(Side from, std::string_view bytes) {
  if (outs_[0].reset) return;
  Half& half = halves_[static_cast<int>(from)];
  half.input.append(bytes);
  move_passing(from);
  offer();
}

void Runner::finish(Side from) {
  halves_[static_cast<int>(from)].ended = true;
  offer();
}

void Runner::fail(Side side, int error) {
  if (side == Side::server) end(Side::server, Ending::reset);
  filter_->failed(side, error, *this);
  offer();
}

void Runner::expire() {
  if (timer_ == 0) return;
  timer_ = 0;
  filter_->expired(*this);
  offer();
}

void Runner::send(Side to, std::string_view bytes) {
  Out& out = outs_[static_cast<int>(to)];
  if (to == Side::server && !connected_) {
    connected_ = true;
    out.connections++;
  }
  out.bytes.append(bytes);
}

void Runner::pass(Side from, uint64_t count) {
  halves_[static_cast<int>(from)].passing = count;
  move_passing(from);
}

void Runner::move_passing(Side side) {
  Half& half = halves_[static_cast<int>(side)];
  const auto count = static_cast<size_t>(std::min<uint64_t>(half.passing, half.input.size()));
  if (half.passing == 0) return;
  send(other(side), std::string_view(half.input).substr(0, count));
  half.input.erase(0, count);
  if (half.passing == everything) return;
  half.passing -= count;
  half.has_passed = half.passing == 0;
}

void Runner::end(Side to, Ending ending) {
  Out& out = outs_[static_cast<int>(to)];
  if (ending == Ending::finish) {
    out.finished = true;
    return;
  }
  if (to == Side::client) {
    out.reset = true;
    return;
  }
  connected_ = false;
  serial_++;
  halves_[1] = Half();
  halves_[0].passing = 0;
}

bool Runner::offer(Side side) {
  Half& half = halves_[static_cast<int>(side)];
  if (half.passing > 0 || (half.input.empty() && !half.has_passed)) return false;
  const bool told = half.has_passed;
  half.has_passed = false;
  std::string bytes = std::move(half.input);
  half.input = std::move(spare_);
  half.input.clear();
  const uint32_t serial = serial_;
  const size_t taken = filter_->receive(side, shown_.show(bytes), *this);
  shown_.hide();
  if (side == Side::client || serial == serial_) {
    half.input.append(bytes, taken, std::string::npos);
    if (half.passing > 0) move_passing(side);
  }
  spare_ = std::move(bytes);
  return told || taken > 0 || half.has_passed;
}

void Runner::offer() {
  for (bool goes_on = true; goes_on && !outs_[0].reset;) {
    goes_on = offer(Side::server);
    goes_on = offer(Side::client) || goes_on;
  }
  for (const Side side : {Side::server, Side::client}) {
    Half& half = halves_[static_cast<int>(side)];
    if (!half.ended || half.ended_told || half.has_passed || outs_[0].reset) continue;
    if (!half.input.empty() && filter_->holds(side)) continue;
    half.ended_told = true;
    half.passing = 0;
    const std::string left = std::move(half.input);
    half.input.clear();
    filter_->ended(side, left, *this);
  }
}

}  // namespace tandem::l7
