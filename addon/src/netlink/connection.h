// SPDX-License-Identifier: Apache-2.0
// A netlink socket and the building and reading of its messages (RFC 3549, linux/rtnetlink.h).
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bpf/state.h"
#include "napi/convert.h"

namespace tandem {

// A message under construction.
class Message {
 public:
  Message(uint16_t type, uint16_t flags);
  template <typename T>
  void body(const T& value) { append(&value, sizeof(value)); }
  void attribute(uint16_t type, const void* data, size_t size);
  void attribute(uint16_t type, const Bytes& data) { attribute(type, data.data(), data.size()); }
  void attribute_u32(uint16_t type, uint32_t value) { attribute(type, &value, sizeof(value)); }
  void attribute_u8(uint16_t type, uint8_t value) { attribute(type, &value, sizeof(value)); }
  void attribute_string(uint16_t type, const std::string& value) { attribute(type, value.c_str(), value.size() + 1); }
  size_t open(uint16_t type);  // a nested attribute; give the result to close()
  void close(size_t at);
  size_t size() const { return bytes_.size(); }
  const Bytes& finish(uint32_t sequence);

 private:
  void append(const void* data, size_t size);
  void pad();
  Bytes bytes_;
};

// Attributes of a received message by type; missing: nullptr.
class Attributes {
 public:
  Attributes(const void* first, size_t length);
  const rtattr* find(uint16_t type) const;
  uint32_t u32(uint16_t type, uint32_t otherwise) const;
  Bytes bytes(uint16_t type) const;
  std::string string(uint16_t type) const;

 private:
  std::vector<const rtattr*> found_;
};

struct Reply {
  int error = 0;  // errno
  std::string text;  // extended ack
};

class Connection {
 public:
  // groups: RTMGRP_* bits to listen to. receive_bytes: room for messages that wait to be read. protocol: NETLINK_*.
  explicit Connection(uint32_t groups = 0, uint32_t receive_bytes = 4 << 20, int protocol = NETLINK_ROUTE);
  int fd() const { return fd_.get(); }
  // One request, one acknowledgement.
  Reply request(Message& message);
  // Many requests in as few system calls as fit; a reply each, in order.
  std::vector<Reply> request_all(std::vector<Message>& messages);
  // A dump; starts over when it was interrupted by a change (NLM_F_DUMP_INTR). `reset` runs before each try.
  // `what`: the objects' name in errors.
  void dump(const char* what, Message& message, const std::function<void()>& reset, const std::function<void(const nlmsghdr*)>& each);
  // overrun: messages were lost (ENOBUFS); older ones may still wait behind it.
  enum class Received { messages, overrun, nothing };
  // Reads one datagram. wait: until there is one, else `nothing` when there is none. Throws on other errors.
  Received receive(const std::function<void(const nlmsghdr*)>& each, bool wait);
  // After an overrun: lets go of everything that waited then, so that what is read next is newer than this moment, and what is lost
  // after it is told.
  void discard();

 private:
  Descriptor fd_;
  uint32_t sequence_ = 0, receive_bytes_ = 0;
  Bytes buffer_;
};

}  // namespace tandem
