// SPDX-License-Identifier: Apache-2.0
// Feature probes: each is a tiny program or call that really tries the thing. Versions are never asked: distributions backport.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
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

// A function that programs may call (kfunc): its type is the kernel's own, or a module's.
struct KernelFunction {
  int id = 0;
  Descriptor module;  // none: it is built in
};

// The types of a module that is loaded.
Descriptor module_btf(const char* name) {
  for (uint32_t id = 0; bpf_btf_get_next_id(id, &id) == 0;) {
    Descriptor types(bpf_btf_get_fd_by_id(id));
    char found[64] = "";
    bpf_btf_info info{};
    info.name = reinterpret_cast<uintptr_t>(found);
    info.name_len = sizeof(found);
    uint32_t length = sizeof(info);
    if (types.get() < 0 || bpf_obj_get_info_by_fd(types.get(), &info, &length) || !info.kernel_btf || strcmp(found, name)) continue;
    return types;
  }
  return Descriptor();
}

KernelFunction find_function(const char* name, const char* module) {
  KernelFunction found;
  std::unique_ptr<btf, decltype(&btf__free)> kernel(btf__load_vmlinux_btf(), btf__free);
  if (!kernel) return found;
  found.id = std::max(0, btf__find_by_name_kind(kernel.get(), name, BTF_KIND_FUNC));
  if (found.id) return found;
  found.module = module_btf(module);
  bpf_btf_info info{};
  uint32_t length = sizeof(info);
  if (found.module.get() < 0 || bpf_obj_get_info_by_fd(found.module.get(), &info, &length)) return found;
  std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_from_kernel_by_id_split(info.id, kernel.get()), btf__free);
  found.id = types ? std::max(0, btf__find_by_name_kind(types.get(), name, BTF_KIND_FUNC)) : 0;
  return found;
}

// bpf_skb_ct_lookup, and bpf_ct_release of what it finds: the kernel's conntrack, built in or a module that is loaded.
Feature kernel_conntrack() {
  const std::string name = "kernel_conntrack";
  KernelFunction lookup = find_function("bpf_skb_ct_lookup", "nf_conntrack");
  KernelFunction release = find_function("bpf_ct_release", "nf_conntrack");
  if (!lookup.id || !release.id) return {name, false, "this kernel has no bpf_skb_ct_lookup, or nf_conntrack is not loaded"};
  const int modules[] = {0, lookup.module.get(), release.module.get()};
  const auto call = [](const KernelFunction& function, int16_t module) -> bpf_insn {
    return {BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, static_cast<int16_t>(function.module.get() < 0 ? 0 : module), function.id};
  };
  const auto store = [](int16_t at, int32_t value) -> bpf_insn { return {BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, at, value}; };
  const auto frame = [](uint8_t reg, int32_t at) -> std::vector<bpf_insn> {
    return {{BPF_ALU64 | BPF_MOV | BPF_X, reg, BPF_REG_10, 0, 0}, {BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, at}};
  };
  constexpr int32_t this_netns = -1, size = 12;  // of a tuple of IPv4, and of the options
  std::vector<bpf_insn> code{store(-24, 0), store(-20, 0), store(-16, 0), store(-12, this_netns), store(-8, 0), store(-4, IPPROTO_TCP)};
  for (const auto& [reg, at] : {std::pair<uint8_t, int32_t>{BPF_REG_2, -24}, {BPF_REG_4, -12}})
    for (const auto& instruction : frame(reg, at)) code.push_back(instruction);
  for (const auto& instruction :
       {mov_imm(BPF_REG_3, size), mov_imm(BPF_REG_5, size), call(lookup, 1), bpf_insn{BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0},
        bpf_insn{BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_0, 0, 0}, call(release, 2), mov_imm(0, 0), leave()})
    code.push_back(instruction);
  LIBBPF_OPTS(bpf_prog_load_opts, options, .fd_array = modules);
  Descriptor program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "probe", "Dual BSD/GPL", code.data(), code.size(), &options));
  return result_of(name, program.get() >= 0, "load a program");
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
      kernel_conntrack(),
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
