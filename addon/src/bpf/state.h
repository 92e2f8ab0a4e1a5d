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
  virtual ~Background() = default;
  virtual void stop() = 0;  // returns when the thread is gone
};

class State {
 public:
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
  std::shared_ptr<Background> take_background(const Napi::Value& handle, const char* what);

 private:
  uint32_t next_ = 1;
  std::map<uint32_t, std::shared_ptr<Map>> maps_;
  std::map<uint32_t, std::shared_ptr<Program>> programs_;
  std::map<uint32_t, Object> objects_;
  std::map<uint32_t, std::shared_ptr<Background>> backgrounds_;
};

// Fills a Map from its descriptor (BPF_OBJ_GET_INFO_BY_FD).
std::shared_ptr<Map> describe_map(int fd, const std::string& where);

}  // namespace tandem
