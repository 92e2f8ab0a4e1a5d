// SPDX-License-Identifier: Apache-2.0
// One event loop on a thread of its own, with its listeners and all that came by them. Workers share nothing but the tables, which they read, and
// counters.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bpf/state.h"
#include "l7/connection.h"
#include "l7/dns/options.h"
#include "l7/http/judge.h"
#include "l7/limits.h"
#include "l7/network.h"
#include "l7/tables.h"
#include "napi/sink.h"

namespace tandem::l7 {

// Lines of JSON, and how many records found no room since the last ones.
struct Records {
  std::string lines;
  uint64_t lost = 0;
};

// Of all workers.
struct Counts {
  std::atomic<uint64_t> connections{0}, connections_total{0}, refused{0}, requests{0}, records_lost{0};
  std::atomic<int64_t> memory{0};
  std::atomic<uint64_t> limits[limit_count]{};  // how often each took effect
};

struct Shared {
  Limits limits;
  http::JudgeOptions judge;
  std::shared_ptr<Network> network;
  Published tables;
  Counts counts;
  std::shared_ptr<dns::Shared> dns = std::make_shared<dns::Shared>();
  Sink<Records>* records = nullptr;
};

class Worker {
 public:
  // Its listeners; an empty Descriptor where there is none of a family.
  Worker(Shared& shared, std::vector<Descriptor> listeners);
  // Resets what is left.
  ~Worker();

  // Takes nothing new; idle connections end, others as soon as they are. Any thread.
  void drain();
  // True: nothing is left. False: the time is over.
  bool wait_until_empty(std::chrono::steady_clock::time_point until);
  int listener(size_t at) const { return listeners_[at].get(); }

  // For connections, on this thread.
  uint64_t now() const { return now_; }
  const Limits& limits() const { return shared_.limits; }
  const http::JudgeOptions& judge_options() const { return shared_.judge; }
  const std::shared_ptr<dns::Shared>& dns() const { return shared_.dns; }
  const Network& network() const { return *shared_.network; }
  uint64_t tables_generation() const { return shared_.tables.generation(); }
  std::shared_ptr<const Tables> tables(uint64_t& generation);
  std::string_view buffer() const { return buffer_; }
  Pipes& pipes() { return pipes_; }
  void record(const Address& client, const Address& server, const Demands& demands, Record&& record);
  void reached(Limit limit) { shared_.counts.limits[static_cast<size_t>(limit)]++; }
  void watch(int fd, uint64_t id, Side side, uint32_t events, bool is_new);
  void forget(int fd);
  void arm(uint64_t deadline, uint64_t id);
  void disarm(uint64_t deadline, uint64_t id);

 private:
  void run();
  void accept_from(size_t listener);
  Descriptor accept_any(int listener, sockaddr_storage& peer);
  void listen_to(bool listens);
  void handle(uint64_t data, uint32_t events);
  void after(Connection& connection);
  void expire();
  void begin_draining();
  void end_idle();
  void refuse(Descriptor client, Limit limit);
  void flush_records();
  int pause() const;

  Shared& shared_;
  std::vector<Descriptor> listeners_;
  Descriptor epoll_, wake_;
  // Given up for a connection that could not even be refused otherwise, when no more files may be open.
  Descriptor spare_;
  std::unordered_map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::set<std::pair<uint64_t, uint64_t>> deadlines_;
  std::shared_ptr<const Tables> tables_;
  uint64_t generation_ = 0;
  uint64_t now_ = 0, next_id_ = 1, flushed_ = 0, ended_idle_ = 0, rests_until_ = 0;
  std::string buffer_;
  Pipes pipes_;
  Records records_;
  std::atomic<bool> stopping_{false}, draining_{false};
  bool has_drained_ = false;
  std::mutex mutex_;
  std::condition_variable emptied_;
  size_t left_ = 0;
  std::thread thread_;
};

}  // namespace tandem::l7
