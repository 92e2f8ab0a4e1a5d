// SPDX-License-Identifier: Apache-2.0
// One flow: the client's socket, the server's, what waits between them, and the filter that decides. It belongs to one worker and its thread.
#pragma once

#include <memory>
#include <string>

#include "bpf/state.h"
#include "l7/address.h"
#include "l7/ends.h"
#include "l7/filter.h"
#include "l7/limits.h"
#include "l7/pipe.h"
#include "l7/queue.h"
#include "l7/tables.h"

namespace tandem::l7 {

class Worker;

class Connection : public Wire {
 public:
  Connection(Worker& worker, uint64_t id, Descriptor client, const Address& from, const Address& to);
  ~Connection() override;

  // Asks policy what this flow is to be. Called once after it was made.
  void begin();

  void on_event(Side side, uint32_t events);
  void on_deadline();
  void on_drain();

  bool is_dead() const { return dead_; }
  bool is_idle() const { return filter_ != nullptr && filter_->is_idle(); }
  uint64_t id() const { return id_; }
  size_t memory() const;
  // What the worker has counted of it.
  int64_t counted_memory = 0;
  void kill();

  // Wire
  void send(Side to, std::string_view bytes) override;
  void pass(Side from, uint64_t count) override;
  uint64_t passing(Side from) const override { return at(from).passing; }
  void end(Side to, Ending ending) override;
  size_t waiting(Side to) const override { return at(to).output.size() + at(to).pipe.size(); }
  const Demands& demands() override;
  void expire_after(uint32_t milliseconds) override;
  uint64_t now() const override;
  void record(Record&& record) override;
  void reached(Limit limit) override;

 private:
  struct Half {
    Descriptor fd;
    std::string input;
    Queue output;
    Pipe pipe;  // bytes before `output` that were not copied
    uint64_t passing = 0;
    bool has_passed = false;  // to be told
    bool was_full = false, drained = false;  // of its queue; drained: to be told
    bool connecting = false, ended = false, ended_told = false, finish = false, finished = false;
    int error = 0;  // to be told
    bool is_watched = false;
    uint32_t interest = 0;
  };

  Half& at(Side side) { return halves_[static_cast<int>(side)]; }
  const Half& at(Side side) const { return halves_[static_cast<int>(side)]; }

  void decide();
  void connect();
  void connected(Half& server);
  void read(Side side);
  bool may_splice(Side side);
  bool splice(Side side);
  void came(Side side, std::string_view bytes);
  void move_passing(Side side);
  void offer();
  bool offer(Side side);
  void flush(Side side);
  void settle();
  bool tell_drained();
  void watch(Side side);
  void drop_server();
  void broke(Side side, int error);
  void rearm();
  void refuse(const char* reason, Verdict verdict);

  Worker& worker_;
  const uint64_t id_;
  const Address client_, server_;
  Half halves_[2];
  std::unique_ptr<Filter> filter_;
  Demands demands_;
  std::shared_ptr<const Tables> tables_;
  uint64_t generation_ = 0;
  Ends::Revision revision_;
  uint64_t filter_deadline_ = 0, own_deadline_ = 0, armed_ = 0;  // own: of deciding, connecting, lingering
  uint64_t begun_ = 0;
  uint32_t server_serial_ = 0;  // of the connection to the server: it may be made anew
  bool blocked_ = false, dead_ = false, resets_ = false;
};

}  // namespace tandem::l7
