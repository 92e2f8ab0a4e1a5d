// SPDX-License-Identifier: Apache-2.0
// The bpf half of the binding: JavaScript values in, JavaScript values out. Long, because it is a list: one small function for each call
// of the contract, in its order, with nothing of what the call does.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "bpf/bind.h"
#include "bpf/kernel.h"
#include "napi/stream.h"
#include "napi/work.h"
#include "netns/netns.h"

namespace tandem {
namespace {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Object;
using Napi::Value;

Object map_info(Env env, const Map& map, uint32_t handle) {
  Object info = Object::New(env);
  info.Set("name", map.name);
  info.Set("handle", handle);
  info.Set("type", map.type);
  info.Set("keySize", map.key_size);
  info.Set("valueSize", map.value_size);
  info.Set("maxEntries", map.max_entries);
  info.Set("flags", map.flags);
  info.Set("id", map.id);
  return info;
}

LoadRequest read_load_options(State& state, const Object& options) {
  LoadRequest request;
  request.path = to_string(options.Get("path"), "path");
  request.pin_path = to_optional_string(options.Get("pinPath"), "pinPath");
  auto rodata = to_array(options.Get("rodata"), "rodata");
  for (uint32_t i = 0; i < rodata.Length(); i++) {
    auto entry = to_object(rodata.Get(i), "rodata[]");
    request.rodata.emplace_back(to_string(entry.Get("variable"), "rodata[].variable"), to_bytes(entry.Get("bytes"), "rodata[].bytes"));
  }
  auto sizes = to_array(options.Get("maxEntries"), "maxEntries");
  for (uint32_t i = 0; i < sizes.Length(); i++) {
    auto entry = to_object(sizes.Get(i), "maxEntries[]");
    request.max_entries.emplace_back(to_string(entry.Get("map"), "maxEntries[].map"), to_u32(entry.Get("entries"), "maxEntries[].entries"));
  }
  auto skip = to_array(options.Get("skipPrograms"), "skipPrograms");
  for (uint32_t i = 0; i < skip.Length(); i++) request.skip_programs.push_back(to_string(skip.Get(i), "skipPrograms[]"));
  auto reuse = to_array(options.Get("reuseMaps"), "reuseMaps");
  for (uint32_t i = 0; i < reuse.Length(); i++) {
    auto entry = to_object(reuse.Get(i), "reuseMaps[]");
    request.reuse_maps.emplace_back(to_string(entry.Get("map"), "reuseMaps[].map"), state.map(entry.Get("handle")));
  }
  return request;
}

// Handles for what was loaded or opened, all closed by the one of the object.
Value give_object(Env env, State& state, const LoadResult& loaded) {
  tandem::Object held;
  auto programs = Napi::Array::New(env), maps = Napi::Array::New(env);
  uint32_t at = 0;
  for (const auto& program : loaded.programs) {
    uint32_t handle = state.add(program);
    held.programs.push_back(handle);
    Object row = Object::New(env);
    row.Set("name", program->name);
    row.Set("type", program->type);
    row.Set("handle", handle);
    row.Set("id", program->id);
    row.Set("instructions", program->instructions);
    programs.Set(at++, row);
  }
  at = 0;
  for (const auto& map : loaded.maps) {
    uint32_t handle = state.add(map);
    held.maps.push_back(handle);
    maps.Set(at++, map_info(env, *map, handle));
  }
  Object result = Object::New(env);
  result.Set("object", state.add(std::move(held)));
  result.Set("programs", programs);
  result.Set("maps", maps);
  return result;
}

Value load(const CallbackInfo& info) {
  State* state = &State::of(info.Env());
  LoadRequest request = read_load_options(*state, to_object(info[0], "options"));
  return promise_of<LoadResult>(
      info.Env(), [request = std::move(request)] { return load_object(request); },
      [state](Env env, LoadResult& loaded) -> Value { return give_object(env, *state, loaded); });
}

Value bind_pin_program(const CallbackInfo& info) {
  auto program = State::of(info.Env()).program(info[0]);
  std::string path = to_string(info[1], "path");
  return promise_of<bool>(
      info.Env(),
      [program, path] {
        pin_program(*program, path);
        return true;
      },
      [](Env env, bool&) -> Value { return env.Undefined(); });
}

Value bind_open_programs(const CallbackInfo& info) {
  State* state = &State::of(info.Env());
  auto list = to_array(info[0], "programs");
  std::vector<std::pair<std::string, std::string>> wanted;
  for (uint32_t i = 0; i < list.Length(); i++) {
    auto entry = to_object(list.Get(i), "programs[]");
    wanted.emplace_back(to_string(entry.Get("name"), "programs[].name"), to_string(entry.Get("path"), "programs[].path"));
  }
  return promise_of<LoadResult>(
      info.Env(), [wanted = std::move(wanted)] { return open_programs(wanted); },
      [state](Env env, LoadResult& opened) -> Value { return give_object(env, *state, opened); });
}

Value close_object(const CallbackInfo& info) {
  State::of(info.Env()).close_object(info[0]);
  return info.Env().Undefined();
}

Device read_device(const Value& value) {
  auto object = to_object(value, "device");
  return {to_u32(object.Get("index"), "device.index"), to_optional_string(object.Get("netns"), "device.netns")};
}

bool is_ingress(const Value& value) {
  std::string hook = to_string(value, "hook");
  if (hook != "ingress" && hook != "egress") bad_argument("hook must be ingress or egress");
  return hook == "ingress";
}

bool is_tcx(const Value& value) {
  std::string mode = to_string(value, "mode");
  if (mode != "tcx" && mode != "clsact") bad_argument("mode must be tcx or clsact");
  return mode == "tcx";
}

bool is_native(const Value& value) {
  std::string mode = to_string(value, "mode");
  if (mode != "native" && mode != "generic") bad_argument("mode must be native or generic");
  return mode == "native";
}

Value promise_of_word(Env env, std::function<const char*()> work) {
  return promise_of<const char*>(
      env, std::move(work), [](Env e, const char*& word) -> Value { return Napi::String::New(e, word); });
}

// Names what a link without a pin is attached to.
std::string link_key(const Device& device, const std::string& hook) {
  return hook + " " + std::to_string(device.index) + " " + device.netns;
}

// Attaches, and keeps the link if no pin does.
Value promise_of_link(Env env, const std::string& key, const std::string& pin,
                      std::function<Attached(const std::shared_ptr<Descriptor>& kept)> attach) {
  State* state = &State::of(env);
  auto kept = pin.empty() ? state->link(key) : nullptr;
  return promise_of<Attached>(
      env, [attach = std::move(attach), kept] { return attach(kept); },
      [state, key](Env e, Attached& attached) -> Value {
        if (attached.link) state->keep_link(key, attached.link);
        return Napi::String::New(e, attached.word);
      });
}

Value bind_attach_tc(const CallbackInfo& info) {
  auto program = State::of(info.Env()).program(info[0]);
  Device device = read_device(info[1]);
  const bool ingress = is_ingress(info[2]), tcx = is_tcx(info[3]);
  std::string pin = to_optional_string(info[4], "pin");
  return promise_of_link(info.Env(), link_key(device, ingress ? "tcx ingress" : "tcx egress"), pin,
                         [=](const auto& kept) { return attach_tc(*program, device, ingress, tcx, pin, kept); });
}

Value bind_detach_tc(const CallbackInfo& info) {
  Device device = read_device(info[0]);
  const bool ingress = is_ingress(info[1]), tcx = is_tcx(info[2]);
  std::string pin = to_optional_string(info[3], "pin");
  if (tcx && pin.empty()) State::of(info.Env()).drop_link(link_key(device, ingress ? "tcx ingress" : "tcx egress"));
  return promise_of_nothing(info.Env(), [=] {
    if (tcx)
      remove_pin(pin);
    else
      detach_clsact(device, ingress);
  });
}

Value bind_attach_xdp(const CallbackInfo& info) {
  auto program = State::of(info.Env()).program(info[0]);
  Device device = read_device(info[1]);
  const bool native = is_native(info[2]);
  std::string pin = to_optional_string(info[3], "pin");
  return promise_of_link(info.Env(), link_key(device, "xdp"), pin,
                         [=](const auto& kept) { return attach_xdp(*program, device, native, pin, kept); });
}

Value bind_attach_cgroup(const CallbackInfo& info) {
  auto program = State::of(info.Env()).program(info[0]);
  std::string path = to_string(info[1], "cgroup"), pin = to_optional_string(info[3], "pin");
  const uint32_t type = to_u32(info[2], "attachType");
  return promise_of_link(info.Env(), "cgroup " + std::to_string(type) + " " + path, pin,
                         [=](const auto& kept) { return attach_cgroup(*program, path, type, pin, kept); });
}

Value bind_unpin(const CallbackInfo& info) {
  std::string path = to_string(info[0], "path");
  if (path.empty()) bad_argument("path must not be empty");
  return promise_of_nothing(info.Env(), [path] { remove_pin(path); });
}

Value bind_test_run(const CallbackInfo& info) {
  auto program = State::of(info.Env()).program(info[0]);
  bool with_context = !info[2].IsNull() && !info[2].IsUndefined();
  return promise_of<TestRun>(
      info.Env(),
      [program, packet = to_bytes(info[1], "packet"), context = to_optional_bytes(info[2], "context"), repeat = to_u32(info[3], "repeat"),
       netns = to_optional_string(info[4], "netns")] {
        TestRun run;
        in_netns(netns, [&] { run = test_run(*program, packet, context, repeat); });
        return run;
      },
      [with_context](Env env, TestRun& run) -> Value {
        Object result = Object::New(env);
        result.Set("retval", Napi::Number::New(env, static_cast<int32_t>(run.retval)));
        result.Set("durationNs", run.duration);
        result.Set("data", from_bytes(env, run.data));
        result.Set("context", with_context ? from_bytes(env, run.context) : env.Null());
        return result;
      });
}

Value bind_probe(const CallbackInfo& info) {
  return promise_of<std::vector<Feature>>(info.Env(), [] { return probe_features(); }, [](Env env, std::vector<Feature>& features) -> Value {
    Object result = Object::New(env);
    for (const auto& feature : features) {
      Object row = Object::New(env);
      row.Set("supported", feature.supported);
      row.Set("detail", feature.detail);
      result.Set(feature.name, row);
    }
    return result;
  });
}

Value bind_mount(const CallbackInfo& info) {
  return promise_of_word(info.Env(), [path = to_string(info[0], "path")] { return mount_bpffs(path); });
}

Value open_pinned(const CallbackInfo& info) {
  std::string path = to_string(info[0], "path");
  int fd = bpf_obj_get(path.c_str());
  if (fd < 0) throw Failure(errno, "open pinned map", path);
  auto map = describe_map(fd, path);
  // The kernel cuts names to 15 characters; the pin has the whole one.
  std::string pinned = path.substr(path.rfind('/') + 1);
  if (pinned.compare(0, map->name.size(), map->name) == 0) map->name = pinned;
  return map_info(info.Env(), *map, State::of(info.Env()).add(map));
}

Value close_map(const CallbackInfo& info) {
  State::of(info.Env()).close_map(info[0]);
  return info.Env().Undefined();
}

void add_members(Env env, Napi::Array& members, const btf* types, uint32_t id, const char* of) {
  int resolved = btf__resolve_type(types, id);
  if (resolved < 0) return;
  const btf_type* type = btf__type_by_id(types, resolved);
  if (!btf_is_struct(type)) return;
  const btf_member* member = btf_members(type);
  for (int i = 0; i < btf_vlen(type); i++, member++) {
    Object row = Object::New(env);
    row.Set("of", of);
    row.Set("name", btf__name_by_offset(types, member->name_off));
    row.Set("offsetBits", btf_member_bit_offset(type, i));
    const uint32_t bits = btf_member_bitfield_size(type, i);
    row.Set("sizeBits", Napi::Number::New(env, bits ? bits : static_cast<double>(btf__resolve_size(types, member->type)) * 8));
    members.Set(members.Length(), row);
  }
}

std::string type_name(const btf* types, uint32_t id) {
  int resolved = id ? btf__resolve_type(types, id) : -1;
  return resolved < 0 ? "" : btf__name_by_offset(types, btf__type_by_id(types, resolved)->name_off);
}

Value map_btf(const CallbackInfo& info) {
  Env env = info.Env();
  auto map = State::of(env).map(info[0]);
  bpf_map_info details{};
  uint32_t length = sizeof(details);
  if (bpf_obj_get_info_by_fd(map->fd.get(), &details, &length)) throw Failure(errno, "read map info of", map->name);
  if (!details.btf_id) return env.Null();
  std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_from_kernel_by_id(details.btf_id), btf__free);
  if (!types) return env.Null();
  Object result = Object::New(env);
  auto members = Napi::Array::New(env);
  add_members(env, members, types.get(), details.btf_key_type_id, "key");
  add_members(env, members, types.get(), details.btf_value_type_id, "value");
  result.Set("keyType", type_name(types.get(), details.btf_key_type_id));
  result.Set("valueType", type_name(types.get(), details.btf_value_type_id));
  result.Set("members", members);
  return result;
}

Bytes sized(const Value& value, size_t size, const char* what) {
  Bytes bytes = to_bytes(value, what);
  if (bytes.size() != size) bad_argument(std::string(what) + " must be " + std::to_string(size) + " bytes, not " + std::to_string(bytes.size()));
  return bytes;
}

Value map_lookup(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  Bytes key = sized(info[1], map->key_size, "key"), value(map->value_bytes());
  if (bpf_map_lookup_elem(map->fd.get(), key.data(), value.data()) == 0) return from_bytes(info.Env(), value);
  if (errno == ENOENT) return info.Env().Null();
  throw Failure(errno, "read from map", map->name);
}

Value map_update(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  Bytes key = sized(info[1], map->key_size, "key"), value = sized(info[2], map->value_bytes(), "value");
  if (bpf_map_update_elem(map->fd.get(), key.data(), value.data(), to_u32(info[3], "flags")))
    throw Failure(errno, "write to map", map->name + " (" + std::to_string(map->max_entries) + " entries at most)");
  return info.Env().Undefined();
}

Value map_delete(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  Bytes key = sized(info[1], map->key_size, "key");
  if (bpf_map_delete_elem(map->fd.get(), key.data()) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno == ENOENT) return Napi::Boolean::New(info.Env(), false);
  throw Failure(errno, "delete from map", map->name);
}

Value batch_result(Env env, uint64_t& done) {
  Object result = Object::New(env);
  result.Set("done", Napi::Number::New(env, static_cast<double>(done)));
  return result;
}

Value map_update_batch(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  uint32_t count = to_u32(info[3], "count");
  Bytes keys = sized(info[1], size_t{count} * map->key_size, "keys");
  Bytes values = sized(info[2], size_t{count} * map->value_bytes(), "values");
  return promise_of<uint64_t>(
      info.Env(), [map, count, keys = std::move(keys), values = std::move(values)] { return update_batch(*map, keys, values, count); },
      batch_result);
}

Value map_delete_batch(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  uint32_t count = to_u32(info[2], "count");
  Bytes keys = sized(info[1], size_t{count} * map->key_size, "keys");
  return promise_of<uint64_t>(info.Env(), [map, count, keys = std::move(keys)] { return delete_batch(*map, keys, count); }, batch_result);
}

Value bind_dump(const CallbackInfo& info) {
  auto map = State::of(info.Env()).map(info[0]);
  return promise_of<Dump>(info.Env(), [map] { return dump_map(*map); }, [](Env env, Dump& dump) -> Value {
    Object result = Object::New(env);
    result.Set("keys", from_bytes(env, dump.keys));
    result.Set("values", from_bytes(env, dump.values));
    result.Set("count", dump.count);
    return result;
  });
}

using Counts = std::pair<uint64_t, uint64_t>;

Value sweep_with(const CallbackInfo& info, Counts (*sweep)(const Map&, const Timeouts&)) {
  auto map = State::of(info.Env()).map(info[0]);
  auto t = to_object(info[1], "timeouts");
  auto seconds = [&](const char* name) { return to_u32(t.Get(name), name); };
  Timeouts timeouts{seconds("tcpOpening"), seconds("tcpEstablished"), seconds("tcpClosing"), seconds("udpUnreplied"),
                    seconds("udpReplied"), seconds("icmp"), seconds("other"), seconds("service")};
  return promise_of<Counts>(info.Env(), [map, timeouts, sweep] { return sweep(*map, timeouts); }, [](Env env, Counts& counts) -> Value {
    Object result = Object::New(env);
    result.Set("seen", Napi::Number::New(env, static_cast<double>(counts.first)));
    result.Set("deleted", Napi::Number::New(env, static_cast<double>(counts.second)));
    return result;
  });
}

Value bind_sweep(const CallbackInfo& info) { return sweep_with(info, sweep_conntrack); }
Value bind_sweep_nat(const CallbackInfo& info) { return sweep_with(info, sweep_nat); }

// A ring whose batches go to a JavaScript function. At most 16 batches of 1024 records wait for it.
class BoundRing : public Background {
 public:
  BoundRing(Env env, std::shared_ptr<Map> map, uint32_t record_size, uint32_t interval_ms, Napi::Function callback)
      : Background("ring"), stream_(std::make_shared<Stream<RingBatch>>(env, "ring", callback, 16, arguments)) {
    try {
      ring_ = std::make_unique<Ring>(std::move(map), record_size, interval_ms, stream_);
    } catch (...) {
      stream_->release();
      throw;
    }
  }

  void stop() override { ring_->stop(); }
  void close(Env env) override { stream_->close(env); }
  void release() override { stream_->release(); }

 private:
  static std::vector<napi_value> arguments(Env env, RingBatch& batch) {
    return {from_bytes(env, batch.records), Napi::Number::New(env, batch.count)};
  }

  std::shared_ptr<Stream<RingBatch>> stream_;
  std::unique_ptr<Ring> ring_;
};

Value open_ring(const CallbackInfo& info) {
  auto& state = State::of(info.Env());
  auto map = state.map(info[0]);
  uint32_t record_size = to_u32(info[1], "recordSize"), interval = to_u32(info[2], "intervalMs", INT32_MAX);
  if (record_size == 0) bad_argument("recordSize must not be 0");
  auto ring = std::make_shared<BoundRing>(info.Env(), map, record_size, interval, to_function(info[3], "onBatch"));
  return Napi::Number::New(info.Env(), state.add(std::shared_ptr<Background>(std::move(ring))));
}

Value close_ring(const CallbackInfo& info) { return close_background(info, "ring"); }

}  // namespace

Value close_background(const CallbackInfo& info, const char* kind) {
  auto background = State::of(info.Env()).take_background(info[0], kind);
  return promise_of<int>(
      info.Env(), [background] { background->stop(); return 0; },
      [background](Env env, int&) -> Value {
        background->close(env);
        background->release();
        return env.Undefined();
      });
}

void bind_bpf(Napi::Object exports) {
  define_async<load>(exports, "loadObject");
  define<close_object>(exports, "closeObject");
  define_async<bind_pin_program>(exports, "pinProgram");
  define_async<bind_open_programs>(exports, "openPrograms");
  define_async<bind_attach_tc>(exports, "attachTc");
  define_async<bind_detach_tc>(exports, "detachTc");
  define_async<bind_attach_xdp>(exports, "attachXdp");
  define_async<bind_attach_cgroup>(exports, "attachCgroup");
  define_async<bind_unpin>(exports, "unpin");
  define_async<bind_test_run>(exports, "testRun");
  define_async<bind_probe>(exports, "probeFeatures");
  define_async<bind_mount>(exports, "mountBpffs");
  define<open_pinned>(exports, "openPinnedMap");
  define<close_map>(exports, "closeMap");
  define<map_btf>(exports, "mapBtf");
  define<map_lookup>(exports, "mapLookup");
  define<map_update>(exports, "mapUpdate");
  define<map_delete>(exports, "mapDelete");
  define_async<map_update_batch>(exports, "mapUpdateBatch");
  define_async<map_delete_batch>(exports, "mapDeleteBatch");
  define_async<bind_dump>(exports, "mapDump");
  define_async<bind_sweep>(exports, "sweepConntrack");
  define_async<bind_sweep_nat>(exports, "sweepNat");
  define<open_ring>(exports, "openRing");
  define_async<close_ring>(exports, "closeRing");
}

}  // namespace tandem
