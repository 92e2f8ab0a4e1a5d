// SPDX-License-Identifier: Apache-2.0
// What the binding's bpf half does, without any Node-API: runs on any thread, throws Failure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bpf/state.h"
#include "napi/convert.h"
#include "napi/sink.h"

namespace tandem {

struct LoadRequest {
  std::string path, pin_path;  // pin_path empty: nothing is pinned
  std::vector<std::pair<std::string, Bytes>> rodata;
  std::vector<std::pair<std::string, uint32_t>> max_entries;
  std::vector<std::string> skip_programs;
  std::vector<std::pair<std::string, std::shared_ptr<Map>>> reuse_maps;
};

struct LoadResult {
  std::vector<std::shared_ptr<Program>> programs;
  std::vector<std::shared_ptr<Map>> maps;
};

LoadResult load_object(const LoadRequest& request);
void pin_program(const Program& program, const std::string& path);
// Pinned programs by (name, path), in that order; the kernel itself knows only the first 15 characters of a name.
LoadResult open_programs(const std::vector<std::pair<std::string, std::string>>& wanted);

struct Device {
  uint32_t index;
  std::string netns;
};

struct Attached {
  const char* word;  // "attached" or "updated"; see bpf-contract.ts
  std::shared_ptr<Descriptor> link;  // to be kept open: a link without a pin
};
// pin: path, or empty. kept: the link that this attached before without a pin, or nullptr.
Attached attach_tc(const Program& program, const Device& device, bool ingress, bool tcx, const std::string& pin,
                   const std::shared_ptr<Descriptor>& kept);
void detach_clsact(const Device& device, bool ingress);
Attached attach_xdp(const Program& program, const Device& device, bool native, const std::string& pin,
                    const std::shared_ptr<Descriptor>& kept);
Attached attach_cgroup(const Program& program, const std::string& path, uint32_t attach_type, const std::string& pin,
                       const std::shared_ptr<Descriptor>& kept);
void remove_pin(const std::string& path);
const char* mount_bpffs(const std::string& path);
std::string device_text(const Device& device);

// clsact: cls_bpf in direct-action mode, priority 1, handle 1, by rtnetlink.
const char* clsact_attach(uint32_t ifindex, bool ingress, int program_fd, const std::string& name, const std::string& object);
void clsact_detach(uint32_t ifindex, bool ingress, const std::string& object);

struct TestRun {
  uint32_t retval = 0, duration = 0;
  Bytes data, context;
};
TestRun test_run(const Program& program, const Bytes& packet, const Bytes& context, uint32_t repeat);

uint64_t update_batch(const Map& map, const Bytes& keys, const Bytes& values, uint32_t count);
uint64_t delete_batch(const Map& map, const Bytes& keys, uint32_t count);
// Calls `each` with slices of entries that lie end to end. Entries that come or go meanwhile may be missed; of tries (LPM) and
// arrays some may come twice.
using Slice = std::function<void(const uint8_t* keys, const uint8_t* values, size_t count)>;
void walk_map(const Map& map, const Slice& each);
// All entries, none twice.
struct Dump {
  Bytes keys, values;
  uint32_t count = 0;
};
Dump dump_map(const Map& map);

struct Timeouts {
  uint32_t tcp_opening, tcp_established, tcp_closing, udp_unreplied, udp_replied, icmp, other, service;
};
std::pair<uint64_t, uint64_t> sweep_conntrack(const Map& map, const Timeouts& timeouts);  // seen, deleted
std::pair<uint64_t, uint64_t> sweep_nat(const Map& map, const Timeouts& timeouts);

struct Feature {
  std::string name;
  bool supported;
  std::string detail;
};
std::vector<Feature> probe_features();

struct RingBatch {
  Bytes records;  // `count` of them, end to end
  uint32_t count = 0;
};

// Reads a ring buffer map of records of one size on a thread of its own until it is stopped.
class Ring {
 public:
  Ring(std::shared_ptr<Map> map, uint32_t record_size, uint32_t interval_ms, std::shared_ptr<Sink<RingBatch>> sink);
  ~Ring();
  void stop();

 private:
  struct Inner;
  std::unique_ptr<Inner> inner_;
};

}  // namespace tandem
