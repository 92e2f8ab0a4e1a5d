// SPDX-License-Identifier: Apache-2.0
#include "l7/kafka/message.h"

#include <cstdlib>
#include <cstring>

#include "l7/kafka/protocol.h"

namespace tandem::l7::kafka {
namespace {

constexpr int16_t unsupported_version = 35;

class Reader {
 public:
  Reader(std::string_view bytes, size_t at, bool flexible) : bytes_(bytes), at_(at), flexible_(flexible) {}

  bool is_bad() const { return bad_; }
  bool is_at_end() const { return at_ == bytes_.size(); }
  size_t at() const { return at_; }

  int64_t number(size_t size) {
    const std::string_view taken = take(size);
    uint64_t value = taken.empty() || (taken[0] & 0x80) == 0 ? 0 : UINT64_MAX;
    for (const char byte : taken) value = value << 8 | static_cast<unsigned char>(byte);
    return static_cast<int64_t>(value);
  }

  uint32_t varint() {
    uint32_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const std::string_view byte = take(1);
      if (byte.empty()) return 0;
      const auto bits = static_cast<unsigned char>(byte[0]);
      if (shift == 28 && bits > 0x0f) break;
      value |= static_cast<uint32_t>(bits & 0x7f) << shift;
      if ((bits & 0x80) == 0) return value;
    }
    bad_ = true;
    return 0;
  }

  // None: null.
  std::optional<std::string_view> text(size_t width) {
    const int64_t size = flexible_ ? static_cast<int64_t>(varint()) - 1 : number(width);
    if (size == -1) return std::nullopt;
    if (size < 0) bad_ = true;
    return bad_ ? std::string_view() : take(static_cast<size_t>(size));
  }

  // Null is none.
  int64_t count() {
    const int64_t count = flexible_ ? static_cast<int64_t>(varint()) - 1 : number(4);
    if (count < -1) bad_ = true;
    return count < 0 ? 0 : count;
  }

  void tags() {
    if (!flexible_) return;
    for (uint32_t left = varint(); left > 0 && !bad_; left--) {
      varint();
      take(varint());
    }
  }

  std::string_view take(size_t size) {
    if (bad_ || size > bytes_.size() - at_) {
      bad_ = true;
      return {};
    }
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }

 private:
  std::string_view bytes_;
  size_t at_;
  bool flexible_, bad_ = false;
};

// One word of a layout.
struct Word {
  char kind = 0;  // 0: the end
  bool applies = false;
  int64_t value = 0;
};

// Digits of a layout; strtol costs more than the field that they belong to.
int64_t digits(const char*& at) {
  int64_t value = 0;
  for (; *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
  return value;
}

Word next_word(const char*& at, int16_t version) {
  while (*at == ' ') at++;
  Word word;
  if (*at == 0) return word;
  word.kind = *at++;
  int64_t first = 0, last = INT16_MAX;
  if (*at >= '0' && *at <= '9') {
    first = digits(at);
    if (*at == '-') last = digits(++at);
  }
  if (*at == '=') {
    const bool is_negative = *++at == '-';
    if (is_negative) at++;
    word.value = digits(at);
    if (is_negative) word.value = -word.value;
  }
  word.applies = version >= first && version <= last;
  return word;
}

// Behind the bracket that closes the one before `at`.
const char* behind(const char* at) {
  for (int depth = 1; depth > 0; at++) {
    if (*at == '[' || *at == '(' || *at == '{' || *at == '<') depth++;
    if (*at == ']' || *at == ')' || *at == '}' || *at == '>') depth--;
  }
  return at;
}

class TopicReader {
 public:
  TopicReader(Reader& reader, int16_t version) : reader_(reader), version_(version) {}

  // Fields of one struct, or of one element; returns behind its last word.
  const char* fields(const char* at) {
    for (;;) {
      const Word word = next_word(at, version_);
      if (word.kind == 0 || word.kind == ']' || word.kind == ')') return at;
      const bool is_array = word.kind == '[' || word.kind == '(';
      if (!word.applies) {
        if (is_array) at = behind(at);
        continue;
      }
      if (!is_array) {
        value(word.kind);
        continue;
      }
      // An element takes a byte at least, so a count beyond what is there ends soon.
      for (int64_t left = reader_.count(); left > 0 && !reader_.is_bad(); left--) {
        fields(at);
        if (word.kind == '[') reader_.tags();
      }
      at = behind(at);
    }
  }

  bool has_unnamed() const { return unnamed_; }
  std::vector<Topic>& topics() { return topics_; }

 private:
  void value(char kind) {
    switch (kind) {
      case 'c':
        reader_.take(1);
        break;
      case 'h':
        reader_.take(2);
        break;
      case 'i':
        reader_.take(4);
        break;
      case 'l':
        reader_.take(8);
        break;
      case 'u':
        reader_.take(16);
        break;
      case 's':
        reader_.text(2);
        break;
      case 'b':
        reader_.text(4);
        break;
      case 'T': {
        const auto name = reader_.text(2);
        unnamed_ = unnamed_ || !name.has_value();
        if (name.has_value()) topics_.push_back({std::string(*name), {}});
        break;
      }
      case 'P': {
        const auto number = static_cast<int32_t>(reader_.number(4));
        if (!topics_.empty()) topics_.back().partitions.push_back(number);
        break;
      }
      default:
        abort();
    }
  }

  Reader& reader_;
  const int16_t version_;
  std::vector<Topic> topics_;
  bool unnamed_ = false;
};

class Writer {
 public:
  Writer(const RequestHead& head, const std::vector<Topic>& topics)
      : head_(head), topics_(topics), flexible_(is_flexible(head.key, head.version)) {}

  std::string answer(const char* words) {
    out_.reserve(256);
    number(0, 4);
    number(head_.correlation, 4);
    // Who asks for versions does not know yet which header is understood (KIP-511).
    if (head_.key != api_versions) tags();
    fields(words, nullptr, 0);
    tags();
    const auto size = static_cast<uint32_t>(out_.size() - 4);
    for (int at = 0; at < 4; at++) out_[static_cast<size_t>(at)] = static_cast<char>(size >> (24 - 8 * at));
    return std::move(out_);
  }

 private:
  void number(int64_t value, size_t size) {
    for (size_t left = size; left > 0; left--) out_ += static_cast<char>(static_cast<uint64_t>(value) >> (8 * (left - 1)));
  }

  void varint(uint32_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
  }

  // -1: null.
  void size(int64_t size, size_t width) {
    if (flexible_) varint(static_cast<uint32_t>(size + 1));
    else number(size, width);
  }

  void tags() {
    if (flexible_) out_ += '\0';
  }

  const char* fields(const char* at, const Topic* topic, int32_t partition) {
    for (;;) {
      const Word word = next_word(at, head_.version);
      if (word.kind == 0 || word.kind == '}' || word.kind == '>') return at;
      if (word.kind == '{') {
        size(static_cast<int64_t>(topics_.size()), 4);
        for (const Topic& each : topics_) element(at, &each, 0);
        at = behind(at);
      } else if (word.kind == '<') {
        size(static_cast<int64_t>(topic->partitions.size()), 4);
        for (const int32_t each : topic->partitions) element(at, topic, each);
        at = behind(at);
      } else if (word.applies) {
        value(word, topic, partition);
      }
    }
  }

  void element(const char* at, const Topic* topic, int32_t partition) {
    fields(at, topic, partition);
    tags();
  }

  void value(const Word& word, const Topic* topic, int32_t partition) {
    switch (word.kind) {
      case 'c':
        return number(word.value, 1);
      case 'h':
        return number(word.value, 2);
      case 'i':
        return number(word.value, 4);
      case 'l':
        return number(word.value, 8);
      case 'u':
        out_.append(16, '\0');
        return;
      case 'E':
        return number(denied, 2);
      case 'P':
        return number(partition, 4);
      case 'T':
        size(static_cast<int64_t>(topic->name.size()), 2);
        out_ += topic->name;
        return;
      case 'n':
        return size(-1, 2);
      case 'e':
        return size(0, 2);
      case 'N':
        return size(-1, 4);
      case 'a':
      case 'b':
        return size(0, 4);
      default:
        abort();
    }
  }

  const RequestHead& head_;
  const std::vector<Topic>& topics_;
  const bool flexible_;
  std::string out_;
};

}  // namespace

Read read_head(std::string_view frame, RequestHead& out) {
  if (frame.size() < 12) return Read::more;
  Reader reader(frame, 4, false);
  out.key = static_cast<int16_t>(reader.number(2));
  out.version = static_cast<int16_t>(reader.number(2));
  out.correlation = static_cast<int32_t>(reader.number(4));
  if (out.key < 0 || out.version < 0) return Read::refused;
  // The one request whose first version has no client.
  if (out.key != controlled_shutdown || out.version > 0) {
    if (frame.size() < 14) return Read::more;
    const auto client = reader.text(2);
    if (reader.is_bad()) return static_cast<unsigned char>(frame[12]) & 0x80 ? Read::refused : Read::more;
    out.client = std::string(client.value_or(""));
  }
  if (is_flexible(out.key, out.version)) {
    Reader tags(frame, reader.at(), true);
    tags.tags();
    if (tags.is_bad()) return Read::more;
    out.body = tags.at();
  } else {
    out.body = reader.at();
  }
  if (out.key != produce) return Read::whole;
  Reader body(frame, out.body, is_flexible(out.key, out.version));
  if (out.version >= 3) body.text(2);
  out.answered = body.number(2) != 0;
  return body.is_bad() ? Read::more : Read::whole;
}

std::optional<std::vector<Topic>> read_topics(std::string_view frame, const RequestHead& head) {
  const Layout* layout = request_layout(head.key, head.version);
  if (layout == nullptr) return std::nullopt;
  Reader reader(frame, head.body, is_flexible(head.key, head.version));
  TopicReader topics(reader, head.version);
  topics.fields(layout->words);
  reader.tags();
  if (reader.is_bad() || !reader.is_at_end() || topics.has_unnamed()) return std::nullopt;
  return std::move(topics.topics());
}

std::string denial(const RequestHead& head, const std::vector<Topic>& topics) {
  const Layout* layout = answer_layout(head.key, head.version);
  return layout == nullptr ? "" : Writer(head, topics).answer(layout->words);
}

void limit_versions(std::string& answer, int16_t version) {
  Reader head(answer, 8, false);
  const auto error = static_cast<int16_t>(head.number(2));
  const bool flexible = version >= 3 && error != unsupported_version;
  Reader reader(answer, 10, flexible);
  std::vector<std::pair<size_t, int16_t>> changes;
  for (int64_t left = reader.count(); left > 0 && !reader.is_bad(); left--) {
    const auto key = static_cast<int16_t>(reader.number(2)), first = static_cast<int16_t>(reader.number(2));
    const size_t where = reader.at();
    const auto last = static_cast<int16_t>(reader.number(2));
    reader.tags();
    const int16_t readable = last_readable(key);
    if (readable >= first && last > readable) changes.emplace_back(where, readable);
  }
  if (head.is_bad() || reader.is_bad()) return;
  for (const auto& [where, readable] : changes) {
    answer[where] = static_cast<char>(readable >> 8);
    answer[where + 1] = static_cast<char>(readable);
  }
}

}  // namespace tandem::l7::kafka
