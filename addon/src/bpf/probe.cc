// SPDX-License-Identifier: Apache-2.0
// Feature probes: each is a tiny program or call that really tries the thing. Versions are never asked: distributions backport.
#include <bpf/bpf.h>
#include <bpf/btf.h>
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

Feature result_of(const std::string& name, bool supported, const std::string& action) {
  return {name, supported, supported ? "" : action + ": " + strerror(errno)};
}

// A program that calls the helper. A kernel that lacks it refuses it as "invalid func" or "unknown func"; one that has it
// dislikes the arguments that are missing here, which is as good as a yes.
Feature helper(const std::string& name, bpf_prog_type type, enum bpf_func_id id) {
  const bpf_insn call{BPF_JMP | BPF_CALL, 0, 0, 0, id};
  const std::vector<bpf_insn> code{call, mov_imm(0, 0), leave()};
  char log[4096] = "";
  LIBBPF_OPTS(bpf_prog_load_opts, options, .log_level = 1, .log_size = sizeof(log), .log_buf = log);
  Descriptor program(bpf_prog_load(type, "probe", "Dual BSD/GPL", code.data(), code.size(), &options));
  if (program.get() >= 0) return {name, true, ""};
  const int error = errno;
  if (strstr(log, "invalid func ") || strstr(log, "unknown func ")) return {name, false, "this kernel has no such helper"};
  // without a log the verifier did not get to look at it
  return log[0] ? Feature{name, true, ""} : Feature{name, false, std::string("load a program: ") + strerror(error)};
}

Feature map_type(const std::string& name, bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags = 0) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
  Descriptor map(bpf_map_create(type, "probe", key, value, entries, &options));
  return result_of(name, map.get() >= 0, "create a map");
}

Feature program_type(const std::string& name, bpf_prog_type type, const std::vector<bpf_insn>& code, bpf_attach_type expected) {
  Descriptor program(load(type, code, expected));
  return result_of(name, program.get() >= 0, "load a program");
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

Feature batch_hash() {
  Descriptor map(bpf_map_create(BPF_MAP_TYPE_HASH, "probe", 4, 4, 4, nullptr));
  if (map.get() < 0) return result_of("batch", false, "create a map");
  uint32_t keys[2] = {1, 2}, values[2] = {3, 4}, count = 2;
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  return result_of("batch", bpf_map_update_batch(map.get(), keys, values, &count, &options) == 0, "BPF_MAP_UPDATE_BATCH");
}

Feature batch_lpm() {
  LIBBPF_OPTS(bpf_map_create_opts, create, .map_flags = BPF_F_NO_PREALLOC);
  Descriptor map(bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "probe", 8, 4, 4, &create));
  if (map.get() < 0) return result_of("batch_lpm", false, "create a map");
  const uint32_t keys[2][2] = {{8, 1}, {8, 2}};
  uint32_t values[2] = {3, 4}, count = 2;
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  return result_of("batch_lpm", bpf_map_update_batch(map.get(), keys, values, &count, &options) == 0, "BPF_MAP_UPDATE_BATCH");
}

// The kernel's own types, by which CO-RE objects are fitted to it.
Feature kernel_btf() {
  std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_vmlinux_btf(), btf__free);
  return result_of("btf", types != nullptr, "/sys/kernel/btf/vmlinux");
}

// BPF_LINK_CREATE with a descriptor that is no cgroup: a kernel with such links looks at it (EBADF), one without refuses the
// command or the program's type (EINVAL).
Feature cgroup_link(const std::vector<bpf_insn>& allow) {
  Descriptor program(load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, allow, BPF_CGROUP_INET4_CONNECT));
  if (program.get() < 0) return result_of("bpf_link_cgroup", false, "load a program");
  Descriptor link(bpf_link_create(program.get(), program.get(), BPF_CGROUP_INET4_CONNECT, nullptr));
  return result_of("bpf_link_cgroup", link.get() >= 0 || errno == EBADF, "BPF_LINK_CREATE");
}

Feature sock_addr(const std::string& name, bpf_attach_type hook, const std::vector<bpf_insn>& allow) {
  return program_type(name, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, allow, hook);
}

}  // namespace

std::vector<Feature> probe_features() {
  const std::vector<bpf_insn> allow{mov_imm(0, 1), leave()};
  constexpr uint32_t page = 4096;
  return {
      tcx(),
      kernel_btf(),
      helper("redirect_peer", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_peer),
      helper("redirect_neigh", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh),
      helper("fib_lookup", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_fib_lookup),
      helper("ktime_coarse", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_ktime_get_coarse_ns),
      helper("sk_assign", BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_sk_assign),
      map_type("ringbuf", BPF_MAP_TYPE_RINGBUF, 0, 0, page),
      map_type("lru_hash", BPF_MAP_TYPE_LRU_HASH, 4, 4, 4),
      map_type("lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 4, 4, BPF_F_NO_PREALLOC),
      batch_hash(),
      batch_lpm(),
      cgroup_link(allow),
      sock_addr("cgroup_connect", BPF_CGROUP_INET4_CONNECT, allow),
      sock_addr("cgroup_sendmsg", BPF_CGROUP_UDP4_SENDMSG, allow),
      sock_addr("cgroup_recvmsg", BPF_CGROUP_UDP4_RECVMSG, allow),
      sock_addr("cgroup_getpeername", BPF_CGROUP_INET4_GETPEERNAME, allow),
      program_type("xdp", BPF_PROG_TYPE_XDP, {mov_imm(0, 2), leave()}, static_cast<bpf_attach_type>(0)),
  };
}

}  // namespace tandem
