// SPDX-License-Identifier: Apache-2.0
#include "l7/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "l7/choose.h"
#include "l7/worker.h"
#include "napi/failure.h"

namespace tandem::l7 {
namespace {

constexpr uint64_t ms = 1'000'000;
// How long rules that are under way are waited for, and how often they are looked for.
constexpr uint64_t rules_wait = 1000 * ms, rules_pause = 20 * ms;
// How long a client that was told everything may take to close: closed at once, it could lose what it has not read.
constexpr uint64_t linger = 2000 * ms;

void close_with_reset(Descriptor& fd) {
  const ::linger now{1, 0};
  if (fd.get() >= 0) setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  fd = Descriptor();
}

}  // namespace

Connection::Connection(Worker& worker, uint64_t id, Descriptor client, const Address& from, const Address& to)
    : worker_(worker), id_(id), client_(from), server_(to) {
  at(Side::client).fd = std::move(client);
  begun_ = worker.now();
}

Connection::~Connection() {
  worker_.disarm(armed_, id_);
  if (resets_) close_with_reset(at(Side::client).fd);
  close_with_reset(at(Side::server).fd);
}

void Connection::kill() {
  resets_ = dead_ = true;
}

void Connection::begin() {
  decide();
  settle();
}

void Connection::decide() {
  Choice choice = choose(demands(), worker_.limits(), worker_.judge_options(), worker_.dns());
  if (choice.filter != nullptr) {
    filter_ = std::move(choice.filter);
    own_deadline_ = 0;
    filter_->receive(Side::client, "", *this);
    return;
  }
  if (choice.waits && worker_.now() - begun_ < rules_wait) {
    own_deadline_ = worker_.now() + rules_pause;
    return;
  }
  refuse(choice.waits ? "its rules have not come" : choice.reason, choice.waits ? Verdict::refused : Verdict::denied);
}

void Connection::refuse(const char* reason, Verdict verdict) {
  Record told;
  told.verdict = verdict;
  told.protocol = "tcp";
  told.begun = begun_;
  told.ingress = demands_.ingress.stance == Stance::refused;
  told.reason = reason;
  record(std::move(told));
  kill();
}

const Demands& Connection::demands() {
  const Ends::Revision revision = worker_.network().revision(client_, server_);
  if (generation_ != worker_.tables_generation() || !(revision == revision_) || demands_.egress.stance == Stance::unknown ||
      demands_.ingress.stance == Stance::unknown) {
    tables_ = worker_.tables(generation_);
    revision_ = revision;
    demands_ = worker_.network().demands(client_, server_, IPPROTO_TCP, *tables_);
  }
  return demands_;
}

uint64_t Connection::now() const { return worker_.now(); }

void Connection::expire_after(uint32_t milliseconds) { filter_deadline_ = milliseconds == 0 ? 0 : worker_.now() + milliseconds * ms; }

void Connection::record(Record&& record) { worker_.record(client_, server_, demands_, std::move(record)); }

void Connection::reached(Limit limit) { worker_.reached(limit); }

void Connection::send(Side to, std::string_view bytes) {
  if (to == Side::server && at(to).fd.get() < 0) connect();
  at(to).output.append(bytes);
  at(to).was_full = at(to).was_full || at(to).output.size() >= worker_.limits().queue;
}

void Connection::connect() {
  Half& server = at(Side::server);
  if (server.error != 0) return;
  try {
    server.fd = worker_.network().connect(client_, server_);
    server.connecting = true;
    own_deadline_ = worker_.now() + worker_.limits().connect_timeout * ms;
  } catch (const Failure& failure) {
    server.error = failure.error;
  }
}

void Connection::pass(Side from, uint64_t count) {
  if (from == Side::client && at(Side::server).fd.get() < 0) connect();
  at(from).passing = count;
  move_passing(from);
}

void Connection::end(Side to, Ending ending) {
  if (ending == Ending::finish) {
    at(to).finish = true;
    return;
  }
  if (to == Side::server) drop_server();
  else kill();
}

void Connection::drop_server() {
  Half& server = at(Side::server);
  if (server.fd.get() >= 0) worker_.forget(server.fd.get());
  close_with_reset(server.fd);
  if (server.connecting) own_deadline_ = 0;
  server = Half();
  server_serial_++;
  at(Side::client).passing = 0;
}

void Connection::on_event(Side side, uint32_t events) {
  Half& half = at(side);
  if (half.connecting && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(half.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) half.error = error;
    else connected(half);
  }
  if (half.error == 0 && half.ended && events & (EPOLLERR | EPOLLHUP)) {
    // It has said everything and is gone: there is nothing to read that would tell.
    if (side == Side::client) kill();
    else half.error = ECONNRESET;
  } else if (half.error == 0 && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
    read(side);
  }
  if (filter_ == nullptr && half.error != 0) kill();
  settle();
}

void Connection::connected(Half& server) {
  server.connecting = false;
  own_deadline_ = 0;
}

void Connection::on_deadline() {
  armed_ = 0;
  const uint64_t now = worker_.now();
  if (own_deadline_ != 0 && now >= own_deadline_) {
    own_deadline_ = 0;
    if (filter_ == nullptr) {
      decide();
    } else if (at(Side::server).connecting) {
      at(Side::server).error = ETIMEDOUT;
      reached(Limit::connect_timeout);
    } else {
      dead_ = true;  // the client had its time to close
    }
  }
  if (filter_ != nullptr && filter_deadline_ != 0 && now >= filter_deadline_) {
    filter_deadline_ = 0;
    filter_->expired(*this);
  }
  settle();
}

void Connection::on_drain() {
  if (filter_ != nullptr) filter_->drain(*this);
  settle();
}

bool Connection::offer(Side side) {
  Half& half = at(side);
  if (dead_ || filter_ == nullptr || half.passing > 0) return false;
  if (half.error != 0) {
    const int error = half.error;
    broke(side, error);
    return true;
  }
  if (half.has_passed || (!half.input.empty() && waiting(other(side)) < worker_.limits().queue)) {
    const bool told = half.has_passed;
    half.has_passed = false;
    // The filter may let the rest pass, or drop this very side: what it does not take is of these bytes.
    const std::string bytes = std::move(half.input);
    half.input.clear();
    const uint32_t serial = server_serial_;
    const size_t taken = filter_->receive(side, bytes, *this);
    if (side == Side::client || serial == server_serial_) {
      half.input.assign(bytes, taken, std::string::npos);
      if (half.passing > 0) move_passing(side);
    }
    return told || taken > 0 || half.has_passed;
  }
  blocked_ = blocked_ || !half.input.empty();
  return false;
}

void Connection::offer() {
  for (bool goes_on = true; goes_on && !dead_;) {
    goes_on = offer(Side::server);
    goes_on = offer(Side::client) || goes_on;
  }
  for (const Side side : {Side::server, Side::client}) {
    Half& half = at(side);
    if (dead_ || filter_ == nullptr || half.fd.get() < 0) continue;
    if (half.error != 0 && half.passing > 0) {
      broke(side, half.error);
      continue;
    }
    if (!half.ended || half.ended_told || half.has_passed) continue;
    if (!half.input.empty() && filter_->holds(side)) continue;
    half.ended_told = true;
    half.passing = 0;
    const std::string left = std::move(half.input);
    half.input.clear();
    filter_->ended(side, left, *this);
  }
}

void Connection::broke(Side side, int error) {
  Half& half = at(side);
  half.error = 0;
  half.passing = 0;
  if (side == Side::client) {
    filter_->failed(side, error, *this);
    kill();
    return;
  }
  drop_server();
  filter_->failed(side, error, *this);
}

void Connection::flush(Side side) {
  Half& half = at(side);
  if (half.pipe.is_open()) {
    while (half.pipe.size() > 0) {
      if (half.pipe.drain(half.fd.get()) > 0) continue;
      if (errno != EAGAIN && errno != EINTR) half.error = errno;
      return;
    }
    worker_.pipes().give(std::move(half.pipe));
  }
  // A server of this host has often taken the connection before connect(2) is back: tried once, before the loop is asked to tell.
  while (half.fd.get() >= 0 && (!half.connecting || !half.is_watched) && half.output.size() > 0) {
    const std::string_view front = half.output.front();
    const ssize_t sent = ::send(half.fd.get(), front.data(), front.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) half.error = errno;
      return;
    }
    if (half.connecting) connected(half);
    half.output.take(static_cast<size_t>(sent));
  }
  if (half.was_full && half.output.size() == 0) {
    half.was_full = false;
    half.drained = true;
  }
  if (half.finish && !half.finished && half.output.size() == 0 && half.fd.get() >= 0 && !half.connecting) {
    half.finished = true;
    shutdown(half.fd.get(), SHUT_WR);
    if (side == Side::client) own_deadline_ = worker_.now() + linger;
  }
}

// After anything happened: everything that can be said is said, and what is waited for is known to the loop.
void Connection::settle() {
  for (bool goes_on = true; goes_on && !dead_;) {
    blocked_ = false;
    offer();
    flush(Side::server);
    flush(Side::client);
    // What waited for room in a queue that is empty now would have nobody to remind of it.
    const bool has_room = waiting(Side::server) < worker_.limits().queue && waiting(Side::client) < worker_.limits().queue;
    const bool is_broken = filter_ != nullptr && (at(Side::server).error != 0 || at(Side::client).error != 0);
    goes_on = tell_drained() || is_broken || (blocked_ && has_room);
  }
  const Half& client = at(Side::client);
  if (client.finished && client.ended) dead_ = true;
  if (dead_) return;
  watch(Side::client);
  watch(Side::server);
  rearm();
}

bool Connection::tell_drained() {
  bool told = false;
  for (const Side side : {Side::server, Side::client}) {
    if (!at(side).drained || dead_ || filter_ == nullptr) continue;
    at(side).drained = false;
    filter_->drained(side, *this);
    told = true;
  }
  return told;
}

void Connection::watch(Side side) {
  Half& half = at(side);
  if (half.fd.get() < 0) return;
  uint32_t interest = 0;
  if (!half.connecting && !half.ended && half.input.size() < worker_.limits().input &&
      waiting(other(side)) < worker_.limits().queue && filter_ != nullptr)
    interest |= EPOLLIN;
  if (half.connecting || waiting(side) > 0) interest |= EPOLLOUT;
  if (half.is_watched && interest == half.interest) return;
  worker_.watch(half.fd.get(), id_, side, interest, !half.is_watched);
  half.is_watched = true;
  half.interest = interest;
}

// A deadline that moves away, as those of idle connections do with each request, leaves its timer: it looks again when it comes too early.
void Connection::rearm() {
  uint64_t next = filter_deadline_;
  if (own_deadline_ != 0 && (next == 0 || own_deadline_ < next)) next = own_deadline_;
  if (next == 0 || (armed_ != 0 && armed_ <= next)) return;
  worker_.disarm(armed_, id_);
  armed_ = next;
  worker_.arm(armed_, id_);
}

size_t Connection::memory() const {
  size_t sum = sizeof(*this) + (filter_ == nullptr ? 0 : filter_->memory());
  for (const Half& half : halves_) sum += half.input.capacity() + half.output.memory() + half.pipe.size();
  return sum;
}

}  // namespace tandem::l7
