// SPDX-License-Identifier: Apache-2.0
// Opens and loads an object: settings into .rodata, sizes, shared maps; what libbpf and the verifier say is kept.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>

#include "bpf/kernel.h"

namespace tandem {
namespace {

thread_local std::string* libbpf_log = nullptr;

int collect(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (!libbpf_log || level == LIBBPF_DEBUG) return 0;
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0) return length;
  // A verifier's log comes as one line of up to 16 MiB; its end tells what is wrong.
  constexpr size_t most = 1 << 20;
  std::string line(length + 1, '\0');
  vsnprintf(line.data(), line.size(), format, arguments);
  line.pop_back();
  libbpf_log->append(line, line.size() > most ? line.size() - most : 0);
  return length;
}

// The verifier gives up (EAGAIN) when a signal waits for its thread, and libbpf tries five times: on a busy machine each may be hit by a SIGCHLD.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_;
};

// Collects what libbpf prints on this thread while it lives.
class Log {
 public:
  Log() {
    static const auto installed = libbpf_set_print(collect);
    (void)installed;
    libbpf_log = &text;
  }
  ~Log() { libbpf_log = nullptr; }
  std::string text;
};

// For each object libbpf reads the types of the kernel (BTF): tens of megabytes, freed at the end. They lie between what lives on, so that
// malloc would keep them; at the end of its life this gives their pages back.
struct FreedPages {
  ~FreedPages() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
  }
};

void set_rodata(bpf_object* object, const std::string& variable, const Bytes& value, const std::string& path) {
  const btf* types = bpf_object__btf(object);
  int section = types ? btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC) : -1;
  bpf_map* rodata = nullptr;
  for (bpf_map* map = bpf_object__next_map(object, nullptr); map; map = bpf_object__next_map(object, map)) {
    const char* name = bpf_map__name(map);
    size_t length = strlen(name);
    if (length >= 7 && strcmp(name + length - 7, ".rodata") == 0) rodata = map;
  }
  size_t size = 0;
  auto* bytes = rodata ? static_cast<uint8_t*>(const_cast<void*>(bpf_map__initial_value(rodata, &size))) : nullptr;
  if (section < 0 || !bytes) throw Failure(ENOENT, "set " + variable, path, "the object has no .rodata");
  const btf_type* type = btf__type_by_id(types, section);
  const btf_var_secinfo* info = btf_var_secinfos(type);
  for (int i = 0; i < btf_vlen(type); i++, info++) {
    const btf_type* var = btf__type_by_id(types, info->type);
    if (variable != btf__name_by_offset(types, var->name_off)) continue;
    if (value.size() != info->size || info->offset + info->size > size)
      throw Failure(EINVAL, "set " + variable, path,
                    "it has " + std::to_string(info->size) + " bytes, not " + std::to_string(value.size()));
    memcpy(bytes + info->offset, value.data(), value.size());
    return;
  }
  throw Failure(ENOENT, "set " + variable, path, "no such setting in .rodata");
}

}  // namespace

LoadResult load_object(const LoadRequest& request) {
  // Kernels before 5.11 charge maps against this limit.
  rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited);

  FreedPages freed;  // first, so that it ends last
  Log log;
  LIBBPF_OPTS(bpf_object_open_opts, options);
  if (!request.pin_path.empty()) options.pin_root_path = request.pin_path.c_str();
  std::unique_ptr<bpf_object, decltype(&bpf_object__close)> object(bpf_object__open_file(request.path.c_str(), &options),
                                                                   bpf_object__close);
  if (!object) throw Failure(errno, "open object", request.path, log.text);

  for (const auto& [variable, value] : request.rodata) set_rodata(object.get(), variable, value, request.path);
  for (const auto& name : request.skip_programs) {
    bpf_program* program = bpf_object__find_program_by_name(object.get(), name.c_str());
    if (program) bpf_program__set_autoload(program, false);
  }
  for (const auto& [name, entries] : request.max_entries) {
    bpf_map* map = bpf_object__find_map_by_name(object.get(), name.c_str());
    if (map) bpf_map__set_max_entries(map, entries);  // a map that this object does not use: nothing to do
  }
  for (bpf_map* map = bpf_object__next_map(object.get(), nullptr); map; map = bpf_object__next_map(object.get(), map)) {
    if (request.pin_path.empty()) bpf_map__set_pin_path(map, nullptr);
    for (const auto& [name, shared] : request.reuse_maps) {
      if (name != bpf_map__name(map)) continue;
      if (bpf_map__reuse_fd(map, shared->fd.get())) throw Failure(errno, "reuse map " + name, request.path, log.text);
      bpf_map__set_pin_path(map, nullptr);
    }
  }
  {
    NoSignals quiet;
    if (int error = bpf_object__load(object.get())) throw Failure(-error, "load object", request.path, log.text);
  }

  LoadResult result;
  for (bpf_program* program = bpf_object__next_program(object.get(), nullptr); program;
       program = bpf_object__next_program(object.get(), program)) {
    int fd = bpf_program__fd(program);
    if (fd < 0) continue;
    auto loaded = std::make_shared<Program>();
    loaded->fd = Descriptor(dup(fd));
    loaded->name = bpf_program__name(program);
    loaded->type = bpf_program__type(program);
    loaded->instructions = bpf_program__insn_cnt(program);
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    loaded->id = bpf_obj_get_info_by_fd(fd, &info, &length) == 0 ? info.id : 0;
    result.programs.push_back(loaded);
  }
  for (bpf_map* map = bpf_object__next_map(object.get(), nullptr); map; map = bpf_object__next_map(object.get(), map)) {
    int fd = bpf_map__fd(map);
    if (fd < 0) continue;
    auto described = describe_map(dup(fd), bpf_map__name(map));
    described->name = bpf_map__name(map);  // the kernel cuts names to 15 characters
    result.maps.push_back(described);
  }
  return result;
}

void pin_program(const Program& program, const std::string& path) {
  if (bpf_obj_pin(program.fd.get(), path.c_str())) throw Failure(errno, "pin program " + program.name + " at", path);
}

LoadResult open_programs(const std::vector<std::pair<std::string, std::string>>& wanted) {
  LoadResult result;
  for (const auto& [name, path] : wanted) {
    Descriptor fd(bpf_obj_get(path.c_str()));
    if (fd.get() < 0) throw Failure(errno, "open pinned program", path);
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &length)) throw Failure(errno, "read program info of", path);
    auto program = std::make_shared<Program>();
    program->fd = std::move(fd);
    program->name = name;
    program->type = info.type;
    program->id = info.id;
    program->instructions = info.xlated_prog_len / sizeof(bpf_insn);
    result.programs.push_back(program);
  }
  return result;
}

TestRun test_run(const Program& program, const Bytes& packet, const Bytes& context, uint32_t repeat) {
  TestRun result;
  result.data.resize(packet.size() + 512);
  result.context = context;
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = packet.data();
  options.data_size_in = packet.size();
  options.data_out = result.data.data();
  options.data_size_out = result.data.size();
  if (!context.empty()) {
    options.ctx_in = context.data();
    options.ctx_size_in = context.size();
    options.ctx_out = result.context.data();
    options.ctx_size_out = result.context.size();
  }
  options.repeat = static_cast<int>(repeat);
  if (int error = bpf_prog_test_run_opts(program.fd.get(), &options)) throw Failure(-error, "test run of", program.name);
  result.retval = options.retval;
  result.duration = options.duration;
  result.data.resize(options.data_size_out);
  return result;
}

}  // namespace tandem
