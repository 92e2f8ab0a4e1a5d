#include "json_reader.h"

#include <cstdint>
#include <cstring>

namespace tandem {
namespace {

constexpr int kMaxDepth = 32;

class Reader {
 public:
  explicit Reader(const std::string &text) : text_(text) {}

  std::string members(Member *wanted, std::size_t count) {
    skip_space();
    if (peek() != '{') return fail("an object was expected");
    if (object(wanted, count, 1)) {
      skip_space();
      if (at_ == text_.size()) return "";
      fail("text after the object");
    }
    return error_;
  }

 private:
  int peek() const { return at_ < text_.size() ? static_cast<unsigned char>(text_[at_]) : -1; }

  void skip_space() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr && text_[at_] != '\0') at_++;
  }

  std::string fail(const char *what) {
    if (error_.empty()) error_ = std::string(what) + " at byte " + std::to_string(at_);
    return error_;
  }

  bool refuse(const char *what) {
    fail(what);
    return false;
  }

  bool object(Member *wanted, std::size_t count, int depth) {
    if (depth > kMaxDepth) return refuse("nested too deeply");
    at_++;
    skip_space();
    if (peek() == '}') return at_++, true;
    for (;;) {
      skip_space();
      std::string name;
      if (!string(&name)) return false;
      skip_space();
      if (peek() != ':') return refuse("':' was expected");
      at_++;
      Member *member = nullptr;
      for (std::size_t i = 0; i < count; i++) {
        if (name == wanted[i].name) member = &wanted[i];
      }
      if (member != nullptr && member->kind != Member::Kind::absent) return refuse("a member is given twice");
      if (!value(member, depth)) return false;
      skip_space();
      if (peek() == '}') return at_++, true;
      if (peek() != ',') return refuse("',' or '}' was expected");
      at_++;
    }
  }

  bool array(int depth) {
    if (depth > kMaxDepth) return refuse("nested too deeply");
    at_++;
    skip_space();
    if (peek() == ']') return at_++, true;
    for (;;) {
      if (!value(nullptr, depth)) return false;
      skip_space();
      if (peek() == ']') return at_++, true;
      if (peek() != ',') return refuse("',' or ']' was expected");
      at_++;
    }
  }

  bool value(Member *member, int depth) {
    skip_space();
    const std::size_t start = at_;
    Member::Kind kind = Member::Kind::other;
    std::string text;
    bool good = false;
    switch (peek()) {
      case '{': good = object(nullptr, 0, depth + 1); break;
      case '[': good = array(depth + 1); break;
      case '"':
        kind = Member::Kind::string;
        good = string(&text);
        break;
      case 't': kind = Member::Kind::scalar; good = literal("true"); break;
      case 'f': kind = Member::Kind::scalar; good = literal("false"); break;
      case 'n': good = literal("null"); break;
      default: kind = Member::Kind::scalar; good = number(); break;
    }
    if (good && member != nullptr) {
      member->kind = kind;
      member->text = kind == Member::Kind::string ? text : text_.substr(start, at_ - start);
    }
    return good;
  }

  bool literal(const char *word) {
    const std::size_t length = std::strlen(word);
    if (text_.compare(at_, length, word) != 0) return refuse("a value was expected");
    at_ += length;
    return true;
  }

  bool digits() {
    const std::size_t start = at_;
    while (peek() >= '0' && peek() <= '9') at_++;
    return at_ > start || refuse("a value was expected");
  }

  bool number() {
    if (peek() == '-') at_++;
    if (peek() == '0') {
      at_++;
    } else if (!digits()) {
      return false;
    }
    if (peek() == '.') {
      at_++;
      if (!digits()) return false;
    }
    if (peek() == 'e' || peek() == 'E') {
      at_++;
      if (peek() == '+' || peek() == '-') at_++;
      if (!digits()) return false;
    }
    return true;
  }

  bool hex(std::uint32_t *unit) {
    *unit = 0;
    for (int i = 0; i < 4; i++, at_++) {
      const int c = peek();
      std::uint32_t digit = 0;
      if (c >= '0' && c <= '9') digit = static_cast<std::uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f') digit = static_cast<std::uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') digit = static_cast<std::uint32_t>(c - 'A' + 10);
      else return refuse("four hexadecimal digits were expected");
      *unit = *unit * 16 + digit;
    }
    return true;
  }

  static void append_utf8(std::string *out, std::uint32_t point) {
    const auto put = [out](std::uint32_t byte) { out->push_back(static_cast<char>(byte)); };
    if (point < 0x80) {
      put(point);
    } else if (point < 0x800) {
      put(0xc0 | point >> 6);
      put(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
      put(0xe0 | point >> 12);
      put(0x80 | (point >> 6 & 0x3f));
      put(0x80 | (point & 0x3f));
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
      put(0x80 | (point >> 6 & 0x3f));
      put(0x80 | (point & 0x3f));
    }
  }

  bool unicode(std::string *out) {
    std::uint32_t point = 0;
    if (!hex(&point)) return false;
    if (point >= 0xdc00 && point < 0xe000) return refuse("half of a surrogate pair");
    if (point >= 0xd800 && point < 0xdc00) {
      std::uint32_t low = 0;
      if (text_.compare(at_, 2, "\\u") != 0) return refuse("half of a surrogate pair");
      at_ += 2;
      if (!hex(&low)) return false;
      if (low < 0xdc00 || low >= 0xe000) return refuse("half of a surrogate pair");
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(out, point);
    return true;
  }

  bool escape(std::string *out) {
    const int c = peek();
    if (c < 0) return refuse("the string does not end");
    at_++;
    switch (c) {
      case '"': case '\\': case '/': out->push_back(static_cast<char>(c)); return true;
      case 'b': out->push_back('\b'); return true;
      case 'f': out->push_back('\f'); return true;
      case 'n': out->push_back('\n'); return true;
      case 'r': out->push_back('\r'); return true;
      case 't': out->push_back('\t'); return true;
      case 'u': return unicode(out);
      default: return refuse("an unknown escape");
    }
  }

  bool string(std::string *out) {
    if (peek() != '"') return refuse("a string was expected");
    at_++;
    for (;;) {
      const int c = peek();
      if (c < 0) return refuse("the string does not end");
      if (c < 0x20) return refuse("a control character in a string");
      at_++;
      if (c == '"') return true;
      if (c == '\\') {
        if (!escape(out)) return false;
      } else {
        out->push_back(static_cast<char>(c));
      }
    }
  }

  const std::string &text_;
  std::size_t at_ = 0;
  std::string error_;
};

}  // namespace

std::string read_members(const std::string &text, Member *members, std::size_t count) {
  return Reader(text).members(members, count);
}

}  // namespace tandem
