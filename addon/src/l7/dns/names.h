// SPDX-License-Identifier: Apache-2.0
// Between the answers that pass and the agent that opens their addresses in the kernel. Only names that a policy set may use (toFQDNs) are told at
// all, in batches; what is known to be open is remembered, so that most answers wait for nobody. One for all threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "l7/dns/message.h"
#include "l7/rules.h"

namespace tandem::l7::dns {

// One address of one name, as it is handed over to another process.
struct KnownAddress {
  std::string place;
  uint32_t endpoint = 0;
  std::string name;
  uint64_t until = 0;  // ns of CLOCK_MONOTONIC, which both processes have
};

// What the agent is told: an answer that may open something.
struct Lookup {
  uint64_t ticket = 0;
  uint32_t endpoint = 0;
  uint32_t policy_set = 0;
  std::string name;  // with its last dot
  std::vector<Address> addresses;
  uint32_t ttl = 0;
};

// By policy set: the names that its toFQDNs rules may use; 0: those of all sets that are not there.
using NamesOfSets = std::unordered_map<uint32_t, std::shared_ptr<const Pattern>>;

struct NamesOptions {
  size_t most_waiting = 4096;  // lookups that the agent has not written yet
  size_t most_known = 131'072;  // addresses that are remembered as open
  uint32_t least_ttl = 0;      // seconds that the agent keeps an address, whatever its answer says
};

struct NamesCounts {
  std::atomic<uint64_t> told{0};      // lookups for the agent
  std::atomic<uint64_t> remembered{0};  // answers that opened nothing new
  std::atomic<uint64_t> lost{0};      // lookups for which there was no room: their addresses are not open
};

class Names {
 public:
  explicit Names(NamesOptions options) : options_(options) {}

  // `shared`: what one client learns is open for all with the same set (0: with any that is not there); else for that client only.
  void publish(std::shared_ptr<const NamesOfSets> of_sets, bool shared = true);

  // Whether an agent listens. Without one answers wait for nobody; what they say is kept for it as far as there is room.
  void connected(bool is_connected);

  // Called from any thread when there is something to take and was nothing before. Set once, before anything else.
  void on_lookups(std::function<void()> notify) { notify_ = std::move(notify); }

  // Called from any thread when the agent has written. Returns what takes it away.
  uint32_t on_written(std::function<void()> notify);
  void remove_listener(uint32_t listener);

  // Says what an answer gives to the client of these demands. 0: the answer may go now; else when is_open(ticket) says so.
  uint64_t learn(const End& client, const Answer& answer, uint64_t now);

  bool is_open(uint64_t ticket) const;

  // Addresses that are remembered as open.
  size_t size() const;

  std::vector<Lookup> take();
  void written(const std::vector<uint64_t>& tickets);

  // What was open may not be any more: all names, or one (with its last dot).
  void forget();
  void forget(const std::string& name);
  // A client went, and another one may have its number.
  void forget(uint32_t endpoint);

  // What is open, for a successor, which takes it for what its own agent told.
  std::vector<KnownAddress> known(uint64_t now) const;
  void inherit(std::vector<KnownAddress>&& known);

  NamesCounts counts;

 private:
  struct Waiting {
    uint32_t endpoint;
    std::string key;
    std::string name;
    std::vector<std::string> places;  // in known_
    uint64_t until;
    uint64_t since;
  };
  struct Known {
    uint32_t endpoint;  // whose it is alone; 0: of all
    std::string name;
    uint64_t until;  // ns
  };

  void remember(const Waiting& waiting);
  // Forgets those that the agent has had for too long.
  void give_up(uint64_t now);

  const NamesOptions options_;
  std::shared_ptr<const NamesOfSets> of_sets_ = std::make_shared<NamesOfSets>();  // by atomic_load only
  std::atomic<bool> shared_{true};
  std::atomic<bool> connected_{false};
  std::function<void()> notify_;

  mutable std::mutex mutex_;  // of all that follows
  std::unordered_map<std::string, Known> known_;
  std::unordered_map<uint64_t, Waiting> waiting_;
  std::unordered_map<std::string, uint64_t> tickets_;  // by Waiting::key
  std::vector<Lookup> queue_;
  uint64_t next_ = 1;
  std::unordered_map<uint32_t, std::function<void()>> listeners_;
  uint32_t next_listener_ = 1;
};

}  // namespace tandem::l7::dns
