// SPDX-License-Identifier: Apache-2.0
#include "netlink/connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tandem {

Message::Message(uint16_t type, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | flags;
  append(&header, sizeof(header));
}

void Message::append(const void* data, size_t size) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes_.insert(bytes_.end(), from, from + size);
  pad();
}

void Message::pad() { bytes_.resize(NLMSG_ALIGN(bytes_.size())); }

void Message::attribute(uint16_t type, const void* data, size_t size) {
  rtattr header{static_cast<uint16_t>(RTA_LENGTH(size)), type};
  append(&header, sizeof(header));
  append(data, size);
}

size_t Message::open(uint16_t type) {
  size_t at = bytes_.size();
  rtattr header{0, type};
  append(&header, sizeof(header));
  return at;
}

void Message::close(size_t at) {
  auto length = static_cast<uint16_t>(bytes_.size() - at);
  memcpy(bytes_.data() + at + offsetof(rtattr, rta_len), &length, sizeof(length));
}

const Bytes& Message::finish(uint32_t sequence) {
  auto* header = reinterpret_cast<nlmsghdr*>(bytes_.data());
  header->nlmsg_len = bytes_.size();
  header->nlmsg_seq = sequence;
  return bytes_;
}

Attributes::Attributes(const void* first, size_t length) {
  auto* attribute = static_cast<const rtattr*>(first);
  for (int left = static_cast<int>(length); RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
    found_.push_back(attribute);
}

const rtattr* Attributes::find(uint16_t type) const {
  for (const rtattr* attribute : found_)
    if ((attribute->rta_type & NLA_TYPE_MASK) == type) return attribute;
  return nullptr;
}

uint32_t Attributes::u32(uint16_t type, uint32_t otherwise) const {
  const rtattr* attribute = find(type);
  if (!attribute || RTA_PAYLOAD(attribute) < sizeof(uint32_t)) return otherwise;
  uint32_t value;
  memcpy(&value, RTA_DATA(attribute), sizeof(value));
  return value;
}

Bytes Attributes::bytes(uint16_t type) const {
  const rtattr* attribute = find(type);
  if (!attribute) return {};
  const auto* data = static_cast<const uint8_t*>(RTA_DATA(attribute));
  return Bytes(data, data + RTA_PAYLOAD(attribute));
}

std::string Attributes::string(uint16_t type) const {
  const rtattr* attribute = find(type);
  if (!attribute) return "";
  const auto* data = static_cast<const char*>(RTA_DATA(attribute));
  return std::string(data, strnlen(data, RTA_PAYLOAD(attribute)));
}

Connection::Connection(uint32_t groups, uint32_t receive_bytes, int protocol)
    : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)), buffer_(1 << 16) {
  if (fd_.get() < 0) throw Failure(errno, "open", "netlink socket");
  int one = 1, size = static_cast<int>(std::min<uint32_t>(receive_bytes, 1 << 30));
  setsockopt(fd_.get(), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
  setsockopt(fd_.get(), SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));  // failures without a copy of the request
  setsockopt(fd_.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
  if (setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));  // without CAP_NET_ADMIN: what the machine allows
  socklen_t length = sizeof(receive_bytes_);
  getsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_bytes_, &length);  // what the kernel made of it
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address))) throw Failure(errno, "bind", "netlink socket");
}

Connection::Received Connection::receive(const std::function<void(const nlmsghdr*)>& each, bool wait) {
  const int flags = wait ? 0 : MSG_DONTWAIT;
  for (;;) {
    // The size first: a message that does not fit would be cut.
    ssize_t wanted = recv(fd_.get(), nullptr, 0, MSG_PEEK | MSG_TRUNC | flags);
    if (wanted > static_cast<ssize_t>(buffer_.size())) buffer_.resize(wanted);
    sockaddr_nl sender{};
    socklen_t length = sizeof(sender);
    ssize_t got = wanted < 0 ? wanted
                             : recvfrom(fd_.get(), buffer_.data(), buffer_.size(), flags, reinterpret_cast<sockaddr*>(&sender), &length);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == ENOBUFS) return Received::overrun;
      if (errno == EAGAIN && !wait) return Received::nothing;
      throw Failure(errno, "read", "netlink socket");
    }
    if (sender.nl_pid != 0) continue;  // not from the kernel
    int left = static_cast<int>(got);
    for (auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data()); NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
      each(header);
    return Received::messages;
  }
}

void Connection::discard() {
  // From an overrun on the kernel drops everything, without telling again, until the buffer was empty once
  // (NETLINK_S_CONGESTED). More than the buffer holds was only read if it was: what is behind that came later.
  size_t gone = 0;
  while (gone <= receive_bytes_) {
    Received received = receive([&](const nlmsghdr* header) { gone += header->nlmsg_len; }, false);
    if (received == Received::nothing) return;
    if (received == Received::overrun) gone = 0;
  }
}

namespace {

Reply read_reply(const nlmsghdr* header) {
  Reply reply;
  const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(header));
  if (header->nlmsg_len < NLMSG_LENGTH(sizeof(error->error))) return reply;  // NLMSG_DONE of old kernels
  reply.error = -error->error;
  if (header->nlmsg_flags & NLM_F_ACK_TLVS) {
    // NLMSG_DONE has its text right behind the errno, an acknowledgement behind the request's header.
    size_t offset = header->nlmsg_type == NLMSG_DONE ? sizeof(error->error) : sizeof(*error);
    if (header->nlmsg_type == NLMSG_ERROR && !(header->nlmsg_flags & NLM_F_CAPPED)) offset += error->msg.nlmsg_len - sizeof(nlmsghdr);
    if (header->nlmsg_len > NLMSG_HDRLEN + offset)
      reply.text = Attributes(reinterpret_cast<const uint8_t*>(error) + offset, header->nlmsg_len - NLMSG_HDRLEN - offset)
                       .string(NLMSGERR_ATTR_MSG);
  }
  return reply;
}

}  // namespace

std::vector<Reply> Connection::request_all(std::vector<Message>& messages) {
  // Acknowledgements wait in the receive buffer while we send, so a burst stays well below its size (and that of the send
  // buffer, which holds a burst whole).
  constexpr size_t most_messages = 128, most_bytes = 64 << 10;
  std::vector<Reply> replies(messages.size());
  for (size_t from = 0, to = 0; from < messages.size(); from = to) {
    const uint32_t first = sequence_ + 1;
    Bytes packed;
    do {
      const Bytes& one = messages[to].finish(++sequence_);
      packed.insert(packed.end(), one.begin(), one.end());
      to++;
    } while (to < messages.size() && to - from < most_messages && packed.size() + messages[to].size() <= most_bytes);
    if (send(fd_.get(), packed.data(), packed.size(), 0) < 0) throw Failure(errno, "write", "netlink socket");
    // The kernel answers while it takes the messages: what is not there now never comes.
    for (size_t i = from; i < to; i++) replies[i] = {ENOBUFS, "the kernel's answer was lost: the change may have been made"};
    Received received;
    do {
      received = receive(
          [&](const nlmsghdr* header) {
            const uint32_t at = header->nlmsg_seq - first;
            if (header->nlmsg_type == NLMSG_ERROR && at < to - from) replies[from + at] = read_reply(header);
          },
          false);
    } while (received != Received::nothing);
  }
  return replies;
}

Reply Connection::request(Message& message) {
  std::vector<Message> one{message};
  return request_all(one).front();
}

void Connection::dump(const char* what, Message& message, const std::function<void()>& reset, const std::function<void(const nlmsghdr*)>& each) {
  for (int attempt = 0; attempt < 10; attempt++) {
    reset();
    uint32_t sequence = ++sequence_;
    const Bytes& bytes = message.finish(sequence);
    if (send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) throw Failure(errno, "write", "netlink socket");
    bool done = false, interrupted = false;
    while (!done) {
      Received received = receive(
          [&](const nlmsghdr* header) {
            if (header->nlmsg_seq != sequence) return;
            interrupted |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
              // Both carry an errno: a dump may end with one.
              Reply reply = read_reply(header);
              if (reply.error) throw Failure(reply.error, "list", what, reply.text);
              done = true;
            } else {
              each(header);
            }
          },
          true);
      interrupted |= received == Received::overrun;
    }
    if (!interrupted) return;
    usleep(1000u << attempt);  // let the changes pass
  }
  throw Failure(EAGAIN, "list", what, "the list changed during each of 10 tries");
}

}  // namespace tandem
