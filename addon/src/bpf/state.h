// SPDX-License-Identifier: Apache-2.0
// What one JavaScript environment holds open: handles are numbers that mean something only here, so a handle of another
// environment or kind is refused instead of misread.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

struct bpf_object;

namespace tandem {

// A descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();
  int get() const { return fd_; }
  int release();

 private:
  int fd_;
};

struct Map {
  Descriptor fd;
  std::string name;
  uint32_t type, key_size, value_size, max_entries, flags, id;
  size_t value_bytes() const;  // per-CPU maps: all CPUs' values
};

struct Program {
  Descriptor fd;
  std::string name;
  uint32_t type, id, instructions;
};

struct Object {
  std::vector<uint32_t> programs, maps;
};

// Something that runs in the background until it is stopped: a ring reader, a netlink monitor.
struct Background {
  explicit Background(const char* kind) : kind(kind) {}
  virtual ~Background() = default;
  virtual void stop() = 0;                  // any thread; returns when the thread is gone
  virtual void close(Napi::Env env) = 0;    // JavaScript thread, after stop(): what is left is delivered
  virtual void release() = 0;               // JavaScript thread, after stop(): nothing is delivered any more
  const char* const kind;                   // "ring", "monitor", "dns", "L7 engine": a handle of the other kind is refused
};

class State {
 public:
  explicit State(Napi::Env env) : env_(env) {}
  static State& of(Napi::Env env);
  ~State();

  std::shared_ptr<Map> map(const Napi::Value& handle);
  std::shared_ptr<Program> program(const Napi::Value& handle);
  uint32_t add(std::shared_ptr<Map> map);
  uint32_t add(std::shared_ptr<Program> program);
  uint32_t add(Object object);
  uint32_t add(std::shared_ptr<Background> background);
  void close_map(const Napi::Value& handle);
  void close_object(const Napi::Value& handle);
  std::shared_ptr<Background> background(const Napi::Value& handle, const char* kind) const;
  // Out of the table and out of the environment's care: the caller stops, then closes and releases it.
  std::shared_ptr<Background> take_background(const Napi::Value& handle, const char* kind);

  // Links without a pin, by what they are attached to: they live until they are detached or the environment goes.
  std::shared_ptr<Descriptor> link(const std::string& key) const;
  void keep_link(const std::string& key, std::shared_ptr<Descriptor> link) { links_[key] = std::move(link); }
  void drop_link(const std::string& key) { links_.erase(key); }

 private:
  const Napi::Env env_;
  uint32_t next_ = 1;
  std::map<uint32_t, std::shared_ptr<Map>> maps_;
  std::map<uint32_t, std::shared_ptr<Program>> programs_;
  std::map<uint32_t, Object> objects_;
  std::map<uint32_t, std::shared_ptr<Background>> backgrounds_;
  std::map<std::string, std::shared_ptr<Descriptor>> links_;
};

// Fills a Map from its descriptor (BPF_OBJ_GET_INFO_BY_FD).
std::shared_ptr<Map> describe_map(int fd, const std::string& where);

}  // namespace tandem
