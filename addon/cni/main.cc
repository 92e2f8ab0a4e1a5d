// tandem-cni: hands a container runtime's CNI call to the agent, and knows what to say when there is no agent.
// https://www.cni.dev/docs/spec/ (0.3.1, 0.4.0, 1.0.0, 1.1.0)

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <unistd.h>

#include "agent_client.h"
#include "delete_queue.h"
#include "json_reader.h"
#include "json_writer.h"

namespace {

using tandem::CniCode;
using tandem::Member;
using tandem::Reply;
using tandem::Request;

constexpr std::size_t kMaxConfig = 1u << 20;
constexpr int kDefaultTimeoutSeconds = 30;
constexpr int kMaxTimeoutSeconds = 600;
constexpr char kNewestVersion[] = "1.1.0";

struct Settings {
  std::string cni_version = kNewestVersion;
  std::string socket = "/run/tandem/agent.sock";
  std::string state_dir = "/var/lib/tandem";
  int timeout_ms = kDefaultTimeoutSeconds * 1000;
};

std::string environment(const char *name) {
  const char *value = std::getenv(name);
  return value == nullptr ? "" : value;
}

int print(const std::string &text, int exit_code) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  // A runtime that does not get the result must not take silence for success.
  return std::fflush(stdout) == 0 ? exit_code : 1;
}

int refuse(const Settings &settings, CniCode code, const std::string &message, const std::string &details) {
  return print(tandem::error_json(settings.cni_version, code, message, details), 1);
}

// Returns "" or what went wrong.
std::string read_stdin(std::string *text) {
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    if (n == 0) return "";
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::strerror(errno);
    text->append(buffer, static_cast<std::size_t>(n));
    if (text->size() > kMaxConfig) return "it is larger than 1 MiB";
  }
}

// Returns "" or what is wrong with the network configuration.
std::string read_settings(const std::string &config, Settings *settings) {
  Member members[] = {{"cniVersion"}, {"socket"}, {"stateDir"}, {"timeoutSeconds"}};
  const std::string problem = tandem::read_members(config, members, 4);
  if (!problem.empty()) return "it is not valid JSON: " + problem;
  std::string *const strings[] = {&settings->cni_version, &settings->socket, &settings->state_dir};
  for (int i = 0; i < 3; i++) {
    if (members[i].kind == Member::Kind::absent) continue;
    if (members[i].kind != Member::Kind::string || members[i].text.empty()) {
      return std::string(members[i].name) + " has to be a string that is not empty";
    }
    *strings[i] = members[i].text;
  }
  if (settings->socket[0] != '/') return "socket has to be an absolute path";
  if (settings->state_dir[0] != '/') return "stateDir has to be an absolute path";
  if (members[3].kind != Member::Kind::absent) {
    const int seconds = members[3].kind == Member::Kind::scalar ? std::atoi(members[3].text.c_str()) : 0;
    if (seconds < 1 || seconds > kMaxTimeoutSeconds) return "timeoutSeconds has to be 1-600";
    settings->timeout_ms = seconds * 1000;
  }
  return "";
}

// Names of the required variables that are not set (specification, section 2 "Operations").
std::string missing_environment(const Request &request) {
  std::string missing;
  const auto need = [&missing](const char *name, const std::string &value) {
    if (value.empty()) missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  const bool of_attachment = request.command == "ADD" || request.command == "DEL" || request.command == "CHECK";
  if (of_attachment) {
    need("CNI_CONTAINERID", request.container_id);
    need("CNI_IFNAME", request.ifname);
    if (request.command != "DEL") need("CNI_NETNS", request.netns);
  }
  return missing;
}

bool is_known(const std::string &command) {
  for (const char *known : {"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"}) {
    if (command == known) return true;
  }
  return false;
}

int print_versions(const Settings &settings) {
  return print("{\"cniVersion\":" + tandem::quote(settings.cni_version) +
                   ",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n",
               0);
}

// The agent took nothing of the request: a deletion must not block the node, everything else is tried again.
int without_agent(const Request &request, const Settings &settings, const std::string &problem) {
  const std::string remedy =
      problem + "; start tandem-agent on this node, or set \"socket\" in the network configuration to its socket";
  if (request.command == "DEL") {
    const std::string unkept = tandem::queue_delete(settings.state_dir, request);
    if (unkept.empty()) return 0;
    return refuse(settings, CniCode::try_again_later, "tandem-agent does not answer on " + settings.socket +
                                                          " and the deletion could not be kept: " + unkept, remedy);
  }
  if (request.command == "GC") return 0;  // the runtime calls it again, and restarted agents clean up anyway
  const CniCode code = request.command == "STATUS" ? CniCode::plugin_not_available : CniCode::try_again_later;
  return refuse(settings, code, "tandem-agent does not answer on " + settings.socket, remedy);
}

int print_reply(const Request &request, const Settings &settings, const Reply &reply) {
  Member members[] = {{"exitCode"}, {"output"}};
  const bool read = reply.status == 200 && tandem::read_members(reply.body, members, 2).empty() &&
                    members[0].kind == Member::Kind::scalar && members[1].kind == Member::Kind::string;
  if (read) return print(members[1].text, members[0].text == "0" ? 0 : 1);
  if (request.command == "DEL" && reply.status >= 500) {
    // The agent could not do it now; it does what is kept before its next call.
    return without_agent(request, settings, "HTTP status " + std::to_string(reply.status) + ": " + reply.body.substr(0, 1024));
  }
  const CniCode code = request.command == "STATUS" ? CniCode::plugin_not_available : CniCode::try_again_later;
  return refuse(settings, code,
                "tandem-agent on " + settings.socket + " answered with HTTP status " + std::to_string(reply.status),
                reply.body.substr(0, 1024));
}

int run() {
  Settings settings;
  const Request base{environment("CNI_COMMAND"), environment("CNI_CONTAINERID"), environment("CNI_NETNS"),
                     environment("CNI_IFNAME"),  environment("CNI_ARGS"),        environment("CNI_PATH"), ""};
  Request request = base;
  if (request.command.empty()) {
    return refuse(settings, CniCode::invalid_environment, "CNI_COMMAND is not set",
                  "tandem-cni is called by a container runtime; see https://www.cni.dev/docs/spec/");
  }
  if (!is_known(request.command)) {
    return refuse(settings, CniCode::invalid_environment, "CNI_COMMAND " + request.command + " is not known",
                  "known are ADD, DEL, CHECK, STATUS, GC and VERSION");
  }
  const std::string unread = read_stdin(&request.config);
  if (!unread.empty()) {
    return refuse(settings, CniCode::io_failure, "the network configuration on stdin could not be read", unread);
  }
  if (request.command == "VERSION" && request.config.empty()) return print_versions(settings);
  const std::string wrong = read_settings(request.config, &settings);
  if (!wrong.empty()) {
    const CniCode code = wrong.compare(0, 9, "it is not") == 0 ? CniCode::decode_failure : CniCode::invalid_config;
    return refuse(settings, code, "the network configuration on stdin is refused", wrong);
  }
  if (request.command == "VERSION") return print_versions(settings);
  const std::string missing = missing_environment(request);
  if (!missing.empty()) {
    return refuse(settings, CniCode::invalid_environment, "required environment is not set: " + missing,
                  "CNI_COMMAND is " + request.command);
  }
  const Reply reply = tandem::post(settings.socket, "/v1/cni", tandem::to_json(request), settings.timeout_ms);
  switch (reply.outcome) {
    case Reply::Outcome::answered: return print_reply(request, settings, reply);
    case Reply::Outcome::unreachable: return without_agent(request, settings, reply.problem);
    case Reply::Outcome::broken: break;
  }
  // A DEL that the agent took and did not finish is kept too: doing it twice does no harm.
  return without_agent(request, settings, reply.problem);
}

}  // namespace

int main() { return run(); }
