#include "delete_queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "descriptor.h"

namespace tandem {
namespace {

constexpr int kMaxQueued = 256;
constexpr char kSuffix[] = ".json";

std::string problem(const char *what, const std::string &path) {
  return std::string(what) + " " + path + ": " + std::strerror(errno);
}

// mkdir -p, for root only.
std::string make_folder(const std::string &path) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return problem("make folder", part);
    if (at == std::string::npos) return "";
  }
}

// FNV-1a. Names of files only: the file holds the whole request.
std::uint64_t hash(const std::string &text) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return value;
}

bool is_queued(const std::string &name) {
  const std::size_t suffix = sizeof(kSuffix) - 1;
  return name.size() > suffix && name[0] != '.' && name.compare(name.size() - suffix, suffix, kSuffix) == 0;
}

int count_queued(const std::string &folder) {
  DIR *dir = ::opendir(folder.c_str());
  if (dir == nullptr) return 0;
  int count = 0;
  while (const dirent *entry = ::readdir(dir)) count += is_queued(entry->d_name) ? 1 : 0;
  ::closedir(dir);
  return count;
}

std::string write_file(const std::string &path, const std::string &text) {
  const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return problem("create", path);
  for (std::size_t written = 0; written < text.size();) {
    const ssize_t n = ::write(fd.get(), text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return problem("write", path);
    written += static_cast<std::size_t>(n);
  }
  return ::fsync(fd.get()) == 0 ? "" : problem("sync", path);
}

}  // namespace

std::string queue_delete(const std::string &state_dir, const Request &request) {
  const std::string folder = state_dir + "/cni-deletes";
  std::string failed = make_folder(folder);
  if (!failed.empty()) return failed;
  char name[32];
  std::snprintf(name, sizeof(name), "%016llx",
                static_cast<unsigned long long>(hash(request.container_id + "/" + request.ifname)));
  const std::string path = folder + "/" + name + kSuffix;
  if (::access(path.c_str(), F_OK) != 0 && count_queued(folder) >= kMaxQueued) {
    return folder + " holds " + std::to_string(kMaxQueued) + " deletions already";
  }
  const std::string temporary = folder + "/." + name + "." + std::to_string(::getpid());
  failed = write_file(temporary, to_json(request));
  if (failed.empty() && ::rename(temporary.c_str(), path.c_str()) != 0) failed = problem("rename", temporary);
  if (!failed.empty()) {
    ::unlink(temporary.c_str());
    return failed;
  }
  const Descriptor dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return dir.valid() && ::fsync(dir.get()) == 0 ? "" : problem("sync", folder);
}

}  // namespace tandem
