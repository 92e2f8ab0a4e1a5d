// SPDX-License-Identifier: Apache-2.0
// Sockets to servers over UDP, each in the name of one client's address and port, with the questions that are under way there.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "l7/dns/questions.h"
#include "l7/dns/socket.h"

namespace tandem::l7::dns {

struct Flow {
  Flow(const Path& path, Descriptor fd, size_t most) : path(path), fd(std::move(fd)), questions(most) {}

  const Path path;
  Descriptor fd;  // -1: closed, and waiting for the end of this turn
  Questions questions;
  uint32_t endpoint = 0;  // of the client; 0: it is on another node
  uint64_t used = 0;
  std::list<std::unique_ptr<Flow>>::iterator at;
};

struct FlowsOptions {
  int epoll;              // gets each flow's socket, with the flow
  uint32_t mark;          // of what is sent to servers; 0: none
  size_t most;            // each is a socket
  size_t most_questions;  // of one flow
};

class Flows {
 public:
  explicit Flows(FlowsOptions options) : options_(options) {}

  bool is_empty() const { return flows_.empty(); }

  // Null: there is none.
  Flow* find(const Path& path) const;

  // Null: no more sockets.
  Flow* find_or_open(const Path& path, uint32_t endpoint);

  void touch(Flow& flow, uint64_t now);

  void add(Flow& flow, Asked&& asked);

  // One of its questions is under way no more.
  void ended(const Flow& flow);

  // Questions of one endpoint.
  size_t under_way(uint32_t endpoint) const;

  // A question of a predecessor; its client may have no socket here yet.
  void inherit(const Path& path, Asked&& asked);
  // Of those whose clients still have none.
  void forget_inherited() { inherited_.clear(); }

  void close(Flow& flow);
  // At the end of a turn: no event is about what was closed in it any more.
  void clear_closed() { closed_.clear(); }

  // Calls `take(flow)` for each, the one that was not used for longest first, until it says false. It may close the flow.
  template <typename Take>
  void each(Take take) {
    for (auto each = flows_.begin(); each != flows_.end();) {
      Flow& flow = **each++;
      if (!take(flow)) return;
    }
  }

 private:
  // The one that was used the longest ago, if nothing is under way there.
  bool close_idle();

  const FlowsOptions options_;
  std::list<std::unique_ptr<Flow>> flows_;  // by use
  std::list<std::unique_ptr<Flow>> closed_;
  std::unordered_map<Path, Flow*, PathHash> by_path_;
  std::unordered_map<uint32_t, size_t> under_way_;
  std::unordered_map<Path, std::vector<Asked>, PathHash> inherited_;
};

}  // namespace tandem::l7::dns
