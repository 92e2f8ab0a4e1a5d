// SPDX-License-Identifier: Apache-2.0
// Feature probes: each is a tiny program or call that really tries the thing. Versions are never asked: distributions backport.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "bpf/kernel.h"

namespace tandem {
namespace {

constexpr bpf_insn mov_imm(uint8_t reg, int32_t value) { return {BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value}; }
constexpr bpf_insn leave() { return {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}; }

int load(bpf_prog_type type, const std::vector<bpf_insn>& instructions, bpf_attach_type expected = static_cast<bpf_attach_type>(0)) {
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = expected);
  return bpf_prog_load(type, "probe", "Dual BSD/GPL", instructions.data(), instructions.size(), &options);
}

// A helper that the kernel lacks is refused with "invalid func"; anything else means that it is known.
Feature helper(const std::string& name, bpf_prog_type type, enum bpf_func_id id) {
  int result = libbpf_probe_bpf_helper(type, id, nullptr);
  return {name, result == 1, result == 1 ? "" : result == 0 ? "this kernel has no such helper" : strerror(-result)};
}

Feature map_type(const std::string& name, bpf_map_type type) {
  int result = libbpf_probe_bpf_map_type(type, nullptr);
  return {name, result == 1, result == 1 ? "" : result == 0 ? "this kernel has no such map type" : strerror(-result)};
}

Feature program_type(const std::string& name, bpf_prog_type type, const std::vector<bpf_insn>& code, bpf_attach_type expected) {
  Descriptor program(load(type, code, expected));
  return {name, program.get() >= 0, program.get() >= 0 ? "" : strerror(errno)};
}

// BPF_LINK_CREATE of TCX on an interface that cannot exist: a kernel with TCX looks for the device (ENODEV), one without
// refuses the attach type (EINVAL).
Feature tcx() {
  Descriptor program(load(BPF_PROG_TYPE_SCHED_CLS, {mov_imm(0, 0), leave()}));
  if (program.get() < 0) return {"tcx", false, std::string("no sched_cls program: ") + strerror(errno)};
  struct {
    uint32_t prog_fd, target_ifindex, attach_type, flags;
    uint64_t rest[8];
  } attributes{static_cast<uint32_t>(program.get()), 0x7ffffffe, 46, 0, {}};
  Descriptor link(static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof(attributes))));
  if (link.get() >= 0 || errno == ENODEV) return {"tcx", true, ""};
  return {"tcx", false, std::string("BPF_LINK_CREATE: ") + strerror(errno)};
}

Feature map_batch() {
  Descriptor map(bpf_map_create(BPF_MAP_TYPE_HASH, "probe", 4, 4, 4, nullptr));
  uint32_t keys[2] = {1, 2}, values[2] = {3, 4}, count = 2;
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  if (map.get() < 0 || bpf_map_update_batch(map.get(), keys, values, &count, &options))
    return {"map_batch", false, strerror(errno)};
  return {"map_batch", true, ""};
}

}  // namespace

std::vector<Feature> probe_features() {
  const std::vector<bpf_insn> allow{mov_imm(0, 1), leave()};
  return {
      tcx(),
      helper("redirect_peer", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_peer),
      helper("redirect_neigh", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh),
      helper("fib_lookup", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_fib_lookup),
      helper("ktime_coarse", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_ktime_get_coarse_ns),
      helper("sk_assign", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_sk_assign),
      map_type("ringbuf", BPF_MAP_TYPE_RINGBUF),
      map_type("lru_hash", BPF_MAP_TYPE_LRU_HASH),
      map_type("lpm_trie", BPF_MAP_TYPE_LPM_TRIE),
      map_batch(),
      program_type("cgroup_connect", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, allow, BPF_CGROUP_INET4_CONNECT),
      program_type("cgroup_getpeername", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, allow, BPF_CGROUP_INET4_GETPEERNAME),
      program_type("xdp", BPF_PROG_TYPE_XDP, {mov_imm(0, 2), leave()}, static_cast<bpf_attach_type>(0)),
  };
}

}  // namespace tandem
