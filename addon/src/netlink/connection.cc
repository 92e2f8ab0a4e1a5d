// SPDX-License-Identifier: Apache-2.0
#include "netlink/connection.h"

#include <sys/socket.h>
#include <unistd.h>

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

Connection::Connection(uint32_t groups) : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)), buffer_(1 << 16) {
  if (fd_.get() < 0) throw Failure(errno, "open", "netlink socket");
  int one = 1, size = 4 << 20;
  setsockopt(fd_.get(), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
  setsockopt(fd_.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
  setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address))) throw Failure(errno, "bind", "netlink socket");
}

bool Connection::receive(const std::function<void(const nlmsghdr*)>& each) {
  for (;;) {
    ssize_t wanted = recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_PEEK | MSG_TRUNC);
    if (wanted < 0 && errno == EINTR) continue;
    if (wanted > static_cast<ssize_t>(buffer_.size())) buffer_.resize(wanted);
    ssize_t got = wanted < 0 ? wanted : recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == ENOBUFS) return false;
      throw Failure(errno, "read", "netlink socket");
    }
    int left = static_cast<int>(got);
    for (auto* header = reinterpret_cast<const nlmsghdr*>(buffer_.data()); NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
      each(header);
    return true;
  }
}

namespace {

Reply read_reply(const nlmsghdr* header) {
  Reply reply;
  const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(header));
  reply.error = -error->error;
  if (header->nlmsg_flags & NLM_F_ACK_TLVS) {
    size_t offset = sizeof(*error);
    if (!(header->nlmsg_flags & NLM_F_CAPPED)) offset += error->msg.nlmsg_len - sizeof(nlmsghdr);
    if (header->nlmsg_len > NLMSG_HDRLEN + offset)
      reply.text = Attributes(reinterpret_cast<const uint8_t*>(error) + offset, header->nlmsg_len - NLMSG_HDRLEN - offset)
                       .string(NLMSGERR_ATTR_MSG);
  }
  return reply;
}

}  // namespace

std::vector<Reply> Connection::request_all(std::vector<Message>& messages) {
  // Acknowledgements wait in the receive buffer while we send, so a burst stays well below its size.
  constexpr size_t burst = 512;
  std::vector<Reply> replies(messages.size());
  for (size_t from = 0; from < messages.size(); from += burst) {
    size_t to = std::min(messages.size(), from + burst);
    uint32_t first = sequence_ + 1;
    Bytes packed;
    for (size_t i = from; i < to; i++) {
      const Bytes& one = messages[i].finish(++sequence_);
      packed.insert(packed.end(), one.begin(), one.end());
    }
    if (send(fd_.get(), packed.data(), packed.size(), 0) < 0) throw Failure(errno, "write", "netlink socket");
    for (size_t waiting = to - from; waiting > 0;)
      receive([&](const nlmsghdr* header) {
        if (header->nlmsg_type != NLMSG_ERROR || header->nlmsg_seq - first >= to - from) return;
        replies[from + header->nlmsg_seq - first] = read_reply(header);
        waiting--;
      });
  }
  return replies;
}

Reply Connection::request(Message& message) {
  std::vector<Message> one{message};
  return request_all(one).front();
}

void Connection::dump(Message& message, const std::function<void()>& reset, const std::function<void(const nlmsghdr*)>& each) {
  for (int attempt = 0; attempt < 10; attempt++) {
    reset();
    uint32_t sequence = ++sequence_;
    const Bytes& bytes = message.finish(sequence);
    if (send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) throw Failure(errno, "write", "netlink socket");
    bool done = false, interrupted = false;
    while (!done)
      receive([&](const nlmsghdr* header) {
        if (header->nlmsg_seq != sequence) return;
        interrupted |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (header->nlmsg_type == NLMSG_DONE) {
          done = true;
        } else if (header->nlmsg_type == NLMSG_ERROR) {
          Reply reply = read_reply(header);
          throw Failure(reply.error, "list", "netlink objects", reply.text);
        } else {
          each(header);
        }
      });
    if (!interrupted) return;
  }
  throw Failure(EAGAIN, "list", "netlink objects", "the list changed during each of 10 tries");
}

}  // namespace tandem
