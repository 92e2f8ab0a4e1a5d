// SPDX-License-Identifier: Apache-2.0
// The bpf half of the binding, of objects, programs and links: JavaScript values in, JavaScript values out. One small function for each call of the
// contract, in its order, with nothing of what the call does.
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

}  // namespace

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
  bind_maps(exports);
}

}  // namespace tandem
