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

struct Device {
  uint32_t index;
  std::string netns;
};

// "attached" or "updated"; see contract.ts.
const char* attach_link(const Program& program, uint32_t attach_type, int target_fd, uint32_t target_ifindex, uint32_t flags,
                        const std::string& pin, const std::string& object);
const char* attach_tc(const Program& program, const Device& device, bool ingress, bool tcx, const std::string& pin);
void detach_tc(const Device& device, bool ingress, bool tcx, const std::string& pin);
const char* attach_xdp(const Program& program, const Device& device, bool native, const std::string& pin);
const char* attach_cgroup(const Program& program, const std::string& path, uint32_t attach_type, const std::string& pin);
void remove_pin(const std::string& path);
const char* mount_bpffs(const std::string& path);
std::string device_text(const Device& device);

// clsact: cls_bpf in direct-action mode, priority 1, handle 1, by rtnetlink.
void clsact_attach(uint32_t ifindex, bool ingress, int program_fd, const std::string& name, const std::string& object);
void clsact_detach(uint32_t ifindex, bool ingress, const std::string& object);

struct TestRun {
  uint32_t retval = 0, duration = 0;
  Bytes data, context;
};
TestRun test_run(const Program& program, const Bytes& packet, const Bytes& context, uint32_t repeat);

uint64_t update_batch(const Map& map, const Bytes& keys, const Bytes& values, uint32_t count);
uint64_t delete_batch(const Map& map, const Bytes& keys, uint32_t count);
struct Dump {
  Bytes keys, values;
  uint32_t count = 0;
};
Dump dump_map(const Map& map);

struct Timeouts {
  uint32_t tcp_opening, tcp_established, tcp_closing, udp_unreplied, udp_replied, icmp, other, service;
};
std::pair<uint64_t, uint64_t> sweep_conntrack(const Map& map, const Timeouts& timeouts);  // seen, deleted

struct Feature {
  std::string name;
  bool supported;
  std::string detail;
};
std::vector<Feature> probe_features();

// Blocks; calls back on its own thread with batches of fixed-size records until stopped.
class Ring : public Background {
 public:
  using Batch = std::function<void(Bytes records, uint32_t count)>;
  Ring(std::shared_ptr<Map> map, uint32_t record_size, uint32_t interval_ms, Batch on_batch);
  ~Ring() override;
  void stop() override;

 private:
  struct Inner;
  std::unique_ptr<Inner> inner_;
};

}  // namespace tandem
