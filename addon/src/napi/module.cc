// SPDX-License-Identifier: Apache-2.0
// The module: all functions of src/native/contract.ts, and what an environment holds open.
#include <napi.h>

#include <cstring>

#include "bpf/bind.h"
#include "bpf/state.h"
#include "l7/dns/bind.h"
#include "l7/bind.h"
#include "napi/convert.h"
#include "netlink/bind.h"
#include "probe/bind.h"
#include "socket/bind.h"

namespace tandem {
namespace {

uint32_t handle_of(const Napi::Value& value) { return to_u32(value, "handle"); }

[[noreturn]] void refuse_handle(uint32_t handle, const char* what) {
  throw Failure(EBADF, "use", std::string(what) + " handle " + std::to_string(handle), std::string("no open ") + what + " has this handle");
}

template <typename Table>
auto find(Table& table, const Napi::Value& value, const char* what) {
  auto at = table.find(handle_of(value));
  if (at == table.end()) refuse_handle(handle_of(value), what);
  return at;
}

}  // namespace

State& State::of(Napi::Env env) { return *env.GetInstanceData<State>(); }

State::~State() = default;

std::shared_ptr<Map> State::map(const Napi::Value& handle) { return find(maps_, handle, "map")->second; }
std::shared_ptr<Program> State::program(const Napi::Value& handle) { return find(programs_, handle, "program")->second; }

uint32_t State::add(std::shared_ptr<Map> map) {
  maps_[next_] = std::move(map);
  return next_++;
}

uint32_t State::add(std::shared_ptr<Program> program) {
  programs_[next_] = std::move(program);
  return next_++;
}

uint32_t State::add(Object object) {
  objects_[next_] = std::move(object);
  return next_++;
}

namespace {

// An environment that ends (process, worker thread) closes its thread-safe functions without waiting for the threads that call
// them. Hooks run last in, first out, so this one, made after the function, ends the thread before that.
void end_background(void* pointer) {
  auto* background = static_cast<Background*>(pointer);
  background->stop();
  background->release();
}

}  // namespace

uint32_t State::add(std::shared_ptr<Background> background) {
  napi_add_env_cleanup_hook(env_, end_background, background.get());
  backgrounds_[next_] = std::move(background);
  return next_++;
}

void State::close_map(const Napi::Value& handle) { maps_.erase(find(maps_, handle, "map")); }

void State::close_object(const Napi::Value& handle) {
  auto at = find(objects_, handle, "object");
  for (uint32_t program : at->second.programs) programs_.erase(program);
  for (uint32_t map : at->second.maps) maps_.erase(map);
  objects_.erase(at);
}

std::shared_ptr<Background> State::background(const Napi::Value& handle, const char* kind) const {
  const auto at = backgrounds_.find(handle_of(handle));
  if (at == backgrounds_.end() || strcmp(at->second->kind, kind) != 0) refuse_handle(handle_of(handle), kind);
  return at->second;
}

std::shared_ptr<Background> State::take_background(const Napi::Value& handle, const char* kind) {
  auto at = backgrounds_.find(handle_of(handle));
  if (at == backgrounds_.end() || strcmp(at->second->kind, kind) != 0) refuse_handle(handle_of(handle), kind);
  auto background = at->second;
  backgrounds_.erase(at);
  napi_remove_env_cleanup_hook(env_, end_background, background.get());
  return background;
}

std::shared_ptr<Descriptor> State::link(const std::string& key) const {
  auto at = links_.find(key);
  return at == links_.end() ? nullptr : at->second;
}

}  // namespace tandem

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new tandem::State(env));
  tandem::bind_bpf(exports);
  tandem::bind_netlink(exports);
  tandem::bind_socket(exports);
  tandem::bind_probe(exports);
  tandem::bind_dns(exports);
  tandem::bind_l7(exports);
  return exports;
}

NODE_API_MODULE(tandem, initialise)
