// SPDX-License-Identifier: Apache-2.0
#include "l7/worker.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>

#include "l7/record_line.h"
#include "napi/failure.h"

namespace tandem::l7 {
namespace {

constexpr size_t buffer_bytes = 256 * 1024;
constexpr size_t batch_bytes = 64 * 1024;      // of records, that go to JavaScript at once
constexpr uint64_t batch_pause = 100'000'000;  // ns after which fewer go, too
constexpr int most_accepts = 64;               // of one event
constexpr uint64_t accept_rest = 100'000'000;  // ns without looking at listeners when the kernel has no means for another socket

uint64_t clock_ns(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// In epoll's data: what it is about. Connections: id << 2 | side; else one of these.
constexpr uint64_t wake_data = 2, listener_data = 3;

}  // namespace

Worker::Worker(Shared& shared, std::vector<Descriptor> listeners)
    : shared_(shared),
      listeners_(std::move(listeners)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(fcntl(wake_.get(), F_DUPFD_CLOEXEC, 0)),
      buffer_(buffer_bytes, '\0') {
  if (epoll_.get() < 0 || wake_.get() < 0) throw Failure(errno, "make", "an event loop");
  const auto add = [&](int fd, uint64_t data) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = data;
    if (fd >= 0 && epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event)) throw Failure(errno, "watch", "a listener");
  };
  add(wake_.get(), wake_data);
  for (size_t at = 0; at < listeners_.size(); at++) add(listeners_[at].get(), listener_data | at << 2);
  now_ = flushed_ = clock_ns(CLOCK_MONOTONIC);
  // Signals are Node's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Worker::~Worker() {
  stopping_ = true;
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

void Worker::drain() {
  draining_ = true;
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

bool Worker::wait_until_empty(std::chrono::steady_clock::time_point until) {
  std::unique_lock<std::mutex> lock(mutex_);
  return emptied_.wait_until(lock, until, [this] { return has_drained_ && left_ == 0; });
}

std::shared_ptr<const Tables> Worker::tables(uint64_t& generation) {
  if (generation_ != shared_.tables.generation()) std::tie(tables_, generation_) = shared_.tables.now();
  generation = generation_;
  return tables_;
}

void Worker::run() {
  pthread_setname_np(pthread_self(), "tandem-l7");
  epoll_event events[256];
  while (!stopping_) {
    const int count = epoll_wait(epoll_.get(), events, 256, pause());
    now_ = clock_ns(CLOCK_MONOTONIC);
    for (int each = 0; each < count; each++) handle(events[each].data.u64, events[each].events);
    if (rests_until_ != 0 && now_ >= rests_until_) listen_to(true);
    if (draining_ && !has_drained_) begin_draining();
    expire();
    if (records_.lines.size() >= batch_bytes || now_ - flushed_ >= batch_pause) flush_records();
  }
  for (auto& [id, connection] : connections_) connection->kill();
  shared_.counts.connections -= connections_.size();
  connections_.clear();
  flush_records();
}

int Worker::pause() const {
  uint64_t until = UINT64_MAX;
  if (!deadlines_.empty()) until = deadlines_.begin()->first;
  if (!records_.lines.empty()) until = std::min(until, flushed_ + batch_pause);
  if (rests_until_ != 0) until = std::min(until, rests_until_);
  if (until == UINT64_MAX) return -1;
  const uint64_t now = clock_ns(CLOCK_MONOTONIC);
  return until <= now ? 0 : static_cast<int>(std::min<uint64_t>((until - now) / 1'000'000 + 1, 60'000));
}

void Worker::handle(uint64_t data, uint32_t events) {
  if (data == wake_data) {
    uint64_t count;
    (void)!read(wake_.get(), &count, sizeof(count));
    return;
  }
  if ((data & 3) == listener_data) {
    accept_from(data >> 2);
    return;
  }
  // It may have ended by an event of this very turn.
  const auto at = connections_.find(data >> 2);
  if (at == connections_.end()) return;
  at->second->on_event(data & 1 ? Side::server : Side::client, events);
  after(*at->second);
}

void Worker::accept_from(size_t listener) {
  for (int accepts = 0; accepts < most_accepts; accepts++) {
    sockaddr_storage peer, local;
    socklen_t local_length = sizeof(local);
    Descriptor client = accept_any(listeners_[listener].get(), peer);
    if (client.get() < 0) return;
    if (getsockname(client.get(), reinterpret_cast<sockaddr*>(&local), &local_length)) continue;
    const Limits& limits = shared_.limits;
    if (shared_.counts.memory >= static_cast<int64_t>(limits.memory)) end_idle();
    if (shared_.counts.connections >= limits.connections) {
      refuse(std::move(client), Limit::connections);
      continue;
    }
    if (shared_.counts.memory >= static_cast<int64_t>(limits.memory)) {
      refuse(std::move(client), Limit::memory);
      continue;
    }
    shared_.counts.connections_total++;
    const uint64_t id = next_id_++;
    auto made = std::make_unique<Connection>(*this, id, std::move(client), Address::from(peer),
                                             shared_.network->destination(Address::from(local)));
    Connection& connection = *made;
    connections_.emplace(id, std::move(made));
    shared_.counts.connections++;
    connection.begin();
    after(connection);
  }
}

// Without a descriptor: nothing waits, or the kernel has no means for it. A client that nobody accepts would wait for its own time-out, and wake
// the loop all the while: it is refused by the descriptor that is kept for that.
Descriptor Worker::accept_any(int listener, sockaddr_storage& peer) {
  const auto accept = [&] {
    socklen_t length = sizeof(peer);
    return Descriptor(accept4(listener, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  };
  for (int refused = 0; refused < most_accepts; refused++) {
    if (Descriptor client = accept(); client.get() >= 0) return client;
    if (errno == ENOBUFS || errno == ENOMEM) listen_to(false);
    if (errno != EMFILE && errno != ENFILE) return Descriptor();
    end_idle();
    spare_ = Descriptor();
    Descriptor client = accept();
    // Nobody waits, or another thread was quicker.
    const bool none = client.get() < 0;
    if (!none) refuse(std::move(client), Limit::files);
    spare_ = Descriptor(fcntl(wake_.get(), F_DUPFD_CLOEXEC, 0));
    if (none || spare_.get() < 0) {
      listen_to(false);
      break;
    }
  }
  return Descriptor();
}

void Worker::refuse(Descriptor client, Limit limit) {
  shared_.counts.connections_total++;
  shared_.counts.refused++;
  reached(limit);
  const ::linger at_once{1, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

// Rests for a moment, or listens again.
void Worker::listen_to(bool listens) {
  rests_until_ = listens ? 0 : now_ + accept_rest;
  for (size_t at = 0; at < listeners_.size(); at++) {
    epoll_event event{};
    event.events = listens ? static_cast<uint32_t>(EPOLLIN) : 0;
    event.data.u64 = listener_data | at << 2;
    if (listeners_[at].get() >= 0) epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listeners_[at].get(), &event);
  }
}

// There is not memory enough, or there are not files enough: who asks nothing makes room. Looked for once a second, as it looks at every connection.
void Worker::end_idle() {
  if (now_ - ended_idle_ < 1'000'000'000) return;
  ended_idle_ = now_;
  std::vector<uint64_t> idle;
  for (const auto& [id, connection] : connections_)
    if (connection->is_idle()) idle.push_back(id);
  for (const uint64_t id : idle) {
    Connection& connection = *connections_.at(id);
    reached(Limit::idle);
    connection.on_drain();
    after(connection);
  }
}

void Worker::after(Connection& connection) {
  const int64_t memory = connection.is_dead() ? 0 : static_cast<int64_t>(connection.memory());
  if (memory != connection.counted_memory) shared_.counts.memory += memory - connection.counted_memory;
  connection.counted_memory = memory;
  if (!connection.is_dead()) return;
  connections_.erase(connection.id());
  shared_.counts.connections--;
  if (!has_drained_ || !connections_.empty()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  left_ = 0;
  emptied_.notify_all();
}

void Worker::expire() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    const uint64_t id = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    const auto at = connections_.find(id);
    if (at == connections_.end()) continue;
    at->second->on_deadline();
    after(*at->second);
  }
}

void Worker::begin_draining() {
  for (size_t at = 0; at < listeners_.size(); at++) {
    // What the kernel had begun to give to it is still taken.
    if (listeners_[at].get() >= 0) accept_from(at);
    listeners_[at] = Descriptor();
  }
  std::vector<uint64_t> ids;
  for (const auto& [id, connection] : connections_) ids.push_back(id);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    has_drained_ = true;
    left_ = ids.size();
  }
  for (const uint64_t id : ids) {
    const auto at = connections_.find(id);
    if (at == connections_.end()) continue;
    at->second->on_drain();
    after(*at->second);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  left_ = connections_.size();
  emptied_.notify_all();
}

void Worker::record(const Address& client, const Address& server, const Demands& demands, Record&& record) {
  shared_.counts.requests++;
  std::string& out = records_.lines;
  // One that nobody takes does not grow for ever.
  if (out.size() > 16 * batch_bytes) {
    records_.lost++;
    shared_.counts.records_lost++;
    return;
  }
  append_record(out, client, server, demands, record);
}

void Worker::flush_records() {
  flushed_ = now_;
  if (records_.lines.empty() && records_.lost == 0) return;
  if (shared_.records == nullptr || !shared_.records->has_room()) return;
  shared_.records->push(std::exchange(records_, {}));
}

void Worker::watch(int fd, uint64_t id, Side side, uint32_t events, bool is_new) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id << 2 | static_cast<uint64_t>(side);
  epoll_ctl(epoll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
}

void Worker::forget(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Worker::arm(uint64_t deadline, uint64_t id) {
  if (deadline != 0) deadlines_.emplace(deadline, id);
}

void Worker::disarm(uint64_t deadline, uint64_t id) {
  if (deadline != 0) deadlines_.erase({deadline, id});
}

}  // namespace tandem::l7
