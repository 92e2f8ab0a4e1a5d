// SPDX-License-Identifier: Apache-2.0
#include "l7/dns/udp.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "l7/dns/awaiting.h"
#include "l7/dns/detail.h"
#include "l7/dns/flows.h"
#include "l7/dns/held.h"
#include "l7/dns/judge.h"
#include "l7/dns/sender.h"
#include "napi/failure.h"

namespace tandem::l7::dns {
namespace {

constexpr uint64_t millisecond = 1'000'000;
// How often flows are looked at whose time may be over.
constexpr uint64_t sweep_interval = 250 * millisecond;
constexpr int most_events = 128;
// Answers of one flow, and batches of one socket, before the others have their turn.
constexpr int most_turns = 16;
// How long after a predecessor has told its questions further ones may follow, and how many answers wait for them.
constexpr uint64_t strays_time = 2000 * millisecond;
constexpr size_t most_strays = 4096;

}  // namespace

class UdpWorker::Loop {
 public:
  // Runs it on the thread of the loop, between two turns.
  template <typename Task>
  auto on_thread(Task task) {
    auto packed = std::make_shared<std::packaged_task<decltype(task())()>>(std::move(task));
    auto done = packed->get_future();
    {
      std::lock_guard lock(mutex_);
      tasks_.emplace_back([packed] { (*packed)(); });
    }
    wake();
    return done.get();
  }

  bool wait_for_answers(std::chrono::steady_clock::time_point until) {
    const uint64_t time = now_of_clock();
    while (on_thread([&] { return has_older(time); })) {
      if (std::chrono::steady_clock::now() >= until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }

  std::vector<UnderWay> under_way() {
    return on_thread([&] {
      // What the kernel has given to these sockets already is of this process, too.
      for (Descriptor& socket : options_.sockets) take_questions(socket.get());
      std::vector<UnderWay> all;
      flows_.each([&](Flow& flow) {
        flow.questions.each([&](Asked& asked) {
          asked.is_shared = true;
          all.push_back({flow.path, asked});
        });
        return true;
      });
      return all;
    });
  }

  void inherit(std::vector<UnderWay>&& questions) {
    on_thread([&] { take_over(questions); });
  }

  Loop(UdpOptions options, std::shared_ptr<Shared> shared, std::unique_ptr<Surroundings> surroundings)
      : options_(std::move(options)),
        shared_(std::move(shared)),
        surroundings_(std::move(surroundings)),
        flows_({epoll_.get(), options_.mark, options_.most_flows, shared_->options.most_questions}) {
    if (epoll_.get() < 0 || wake_.get() < 0) throw Failure(errno, "make", "event loop of DNS");
    watch(wake_.get(), &wake_);
    for (Descriptor& socket : options_.sockets) {
      want_destinations(socket.get());
      watch(socket.get(), &socket);
    }
    if (shared_->names) listener_ = shared_->names->on_written([this] { wake(); });
    // Signals are Node's.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Loop() {
    stopping_ = true;
    wake();
    thread_.join();
    if (shared_->names) shared_->names->remove_listener(listener_);
  }

 private:
  void wake() {
    const uint64_t one = 1;
    (void)!write(wake_.get(), &one, sizeof(one));
  }

  void watch(int fd, void* what) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = what;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event)) throw Failure(errno, "watch", "socket " + std::to_string(fd) + " of DNS");
  }

  void run() {
    pthread_setname_np(pthread_self(), "tandem-dns");
    epoll_event events[most_events];
    while (!stopping_) {
      const int count = epoll_wait(epoll_.get(), events, most_events, timeout());
      now_ = now_of_clock();
      for (int each = 0; each < count; each++) handle(events[each].data.ptr);
      run_tasks();
      judge_again();
      release();
      if (now_ >= swept_ + sweep_interval) sweep();
      four_.flush();
      six_.flush();
      flows_.clear_closed();
      has_records_ = surroundings_->flush(now_);
    }
  }

  // ms for epoll_wait.
  int timeout() const {
    uint64_t until = UINT64_MAX;
    if (!flows_.is_empty()) until = now_ + sweep_interval;
    if (has_records_) until = std::min(until, now_ + 100 * millisecond);
    if (awaiting_.size() > 0) until = std::min(until, awaiting_.next());
    if (!held_.is_empty()) until = std::min(until, held_.next());
    if (until == UINT64_MAX) return -1;
    return until <= now_ ? 0 : static_cast<int>((until - now_) / millisecond) + 1;
  }

  void handle(void* what) {
    if (what == &wake_) {
      uint64_t count;
      (void)!read(wake_.get(), &count, sizeof(count));
      return;
    }
    for (Descriptor& socket : options_.sockets) {
      if (what == &socket) return take_questions(socket.get());
    }
    take_answers(*static_cast<Flow*>(what));
  }

  void take_questions(int fd) {
    for (int turn = 0; turn < most_turns; turn++) {
      if (!receiver_.receive(fd, [&](const Path& path, std::string_view bytes) { ask(path, bytes); })) return;
    }
  }

  void ask(const Path& path, std::string_view bytes) {
    Reading reading = read_query(bytes);
    if (!reading.query) {
      shared_->counts.malformed++;
      if (reading.answer) reply(path, make_failure(bytes, *reading.answer));
      Record record = record_of(Verdict::refused, now_, "");
      record.reason = reading.reason;
      return surroundings_->record(path, surroundings_->demands(path), std::move(record));
    }
    const Demands& demands = surroundings_->demands(path);
    const Judgement judgement = judge(reading.query->question, demands);
    if (judgement.waits && awaiting_.add(path, demands.egress.endpoint, bytes, now_)) {
      shared_->counts.waited++;
      return;
    }
    settle(path, bytes, *reading.query, demands, judgement);
  }

  void judge_again() {
    awaiting_.judge_again(now_, [&](const Path& path, std::string_view bytes, bool is_last) {
      const Reading reading = read_query(bytes);
      const Demands& demands = surroundings_->demands(path);
      const Judgement judgement = judge(reading.query->question, demands);
      if (judgement.waits && !is_last) return false;
      settle(path, bytes, *reading.query, demands, judgement);
      return true;
    });
  }

  // Passes the question on, or answers it.
  void settle(const Path& path, std::string_view bytes, const Query& query, const Demands& demands, const Judgement& judgement) {
    const auto answered = [&](Verdict verdict, Code code, const char* reason, bool ingress) {
      reply(path, make_answer(bytes, query, code));
      Record record = record_of(verdict, now_, detail_of(query.question, code, nullptr));
      record.answered = now_;
      record.ingress = ingress;
      record.reason = reason;
      surroundings_->record(path, demands, std::move(record));
    };
    if (judgement.waits) {
      shared_->counts.unruled++;
      return answered(Verdict::refused, shared_->options.denied, "its rules have not come", judgement.ingress);
    }
    if (!judgement.is_allowed) {
      shared_->counts.denied++;
      return answered(Verdict::denied, shared_->options.denied, "", judgement.ingress);
    }
    Flow* flow = flows_.find_or_open(path, demands.egress.endpoint);
    if (flow == nullptr || flow->questions.is_full() || flows_.under_way(flow->endpoint) >= shared_->options.most_of_endpoint) {
      shared_->counts.overloaded++;
      return answered(Verdict::refused, Code::server_failure, flow == nullptr ? "no socket to the server" : "too many questions under way", false);
    }
    shared_->counts.forwarded++;
    flows_.touch(*flow, now_);
    flows_.add(*flow, {query.id, query.question, judgement.rules, now_});
    // What the kernel does not take is lost, as datagrams may be: the client asks again.
    (void)!::send(flow->fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }

  void take_answers(Flow& flow) {
    for (int turn = 0; turn < most_turns && flow.fd.get() >= 0; turn++) {
      const ssize_t length = recv(flow.fd.get(), buffer_, sizeof(buffer_), MSG_DONTWAIT);
      if (length < 0) {
        // An ICMP error says that nobody is there; the client's own time-out goes on, as it would have several servers.
        if (errno == EAGAIN || errno == EWOULDBLOCK) return;
        continue;
      }
      answer(flow, std::string_view(buffer_, static_cast<size_t>(length)));
    }
  }

  void answer(Flow& flow, std::string_view message) {
    const auto read = read_answer(message);
    const auto asked = read ? flow.questions.take(*read) : std::nullopt;
    if (!asked) {
      // Who asked may be known in a moment.
      if (read && now_ < strays_until_ && strays_.size() < most_strays) strays_.emplace_back(flow.path, message);
      else shared_->counts.stray++;
      return;
    }
    flows_.ended(flow);
    const Demands& demands = surroundings_->demands(flow.path);
    const uint64_t ticket = shared_->names ? shared_->names->learn(demands.egress, *read, now_) : 0;
    Record record = record_of(Verdict::forwarded, asked->begun, detail_of(asked->question, read->code, &*read));
    record.answered = now_;
    record.rules = asked->rules;
    surroundings_->record(flow.path, demands, std::move(record));
    if (ticket == 0) return reply(flow.path, message);
    held_.add(ticket, now_ + shared_->options.most_delay * millisecond, flow.path, message);
  }

  void reply(const Path& path, std::string_view message) {
    (path.client.address.length == 4 ? four_ : six_).send(path.server, path.client, message);
  }

  void release() {
    held_.release(shared_->names.get(), now_, [&](const Path& path, std::string_view message, bool is_open) {
      if (!is_open) shared_->counts.overdue++;
      reply(path, message);
    });
  }

  // For other threads, which wait for it.
  void run_tasks() {
    std::vector<std::function<void()>> tasks;
    {
      std::lock_guard lock(mutex_);
      tasks.swap(tasks_);
    }
    for (const auto& task : tasks) task();
  }

  // Questions that wait or are under way, and answers that are held, of before.
  bool has_older(uint64_t time) {
    if (awaiting_.has_older(time)) return true;
    if (!held_.is_empty() && held_.next() < time + shared_->options.most_delay * millisecond) return true;
    bool has = false;
    flows_.each([&](const Flow& flow) { return !(has = flow.questions.oldest().value_or(time) < time); });
    return has;
  }

  void take_over(std::vector<UnderWay>& questions) {
    for (auto& [path, asked] : questions) flows_.inherit(path, std::move(asked));
    inherited_at_ = now_;
    strays_until_ = now_ + strays_time;
    for (const auto& [path, message] : std::exchange(strays_, {}))
      if (Flow* flow = flows_.find(path)) answer(*flow, message);
  }

  void sweep() {
    swept_ = now_;
    const uint64_t timeout = shared_->options.server_timeout * millisecond, idle = options_.idle_timeout * millisecond;
    if (now_ >= strays_until_) shared_->counts.stray += std::exchange(strays_, {}).size();
    if (now_ >= inherited_at_ + timeout) flows_.forget_inherited();
    flows_.each([&](Flow& flow) {
      if (flow.used + std::min(idle, timeout) > now_) return false;
      while (const auto asked = flow.questions.expire(now_ > timeout ? now_ - timeout + 1 : 0)) silent(flow, *asked);
      if (flow.questions.size() == 0 && flow.used + idle <= now_) flows_.close(flow);
      return true;
    });
  }

  void silent(Flow& flow, const Asked& asked) {
    flows_.ended(flow);
    if (asked.is_shared) return;
    shared_->counts.silent++;
    Record record = record_of(Verdict::failed, asked.begun, detail_of(asked.question, Code::ok, nullptr));
    record.rules = asked.rules;
    record.reason = "no answer in time";
    surroundings_->record(flow.path, surroundings_->demands(flow.path), std::move(record));
  }

  UdpOptions options_;
  const std::shared_ptr<Shared> shared_;
  const std::unique_ptr<Surroundings> surroundings_;
  Descriptor epoll_{epoll_create1(EPOLL_CLOEXEC)};
  Descriptor wake_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> stopping_{false};
  uint32_t listener_ = 0;

  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;

  // Of the thread.
  Receiver receiver_;
  Sender four_{4, options_.mark}, six_{16, options_.mark};
  Flows flows_;
  AwaitingRules awaiting_;
  HeldAnswers held_;
  uint64_t now_ = now_of_clock();
  uint64_t swept_ = 0;
  bool has_records_ = false;
  uint64_t inherited_at_ = 0;
  // Answers that came before the predecessor's questions did.
  std::vector<std::pair<Path, std::string>> strays_;
  uint64_t strays_until_ = 0;
  char buffer_[UINT16_MAX];

  std::thread thread_;
};

UdpWorker::UdpWorker(UdpOptions options, std::shared_ptr<Shared> shared, std::unique_ptr<Surroundings> surroundings)
    : loop_(std::make_unique<Loop>(std::move(options), std::move(shared), std::move(surroundings))) {}

UdpWorker::~UdpWorker() = default;

bool UdpWorker::wait_for_answers(std::chrono::steady_clock::time_point until) { return loop_->wait_for_answers(until); }

std::vector<UnderWay> UdpWorker::under_way() { return loop_->under_way(); }

void UdpWorker::inherit(std::vector<UnderWay>&& questions) { loop_->inherit(std::move(questions)); }

}  // namespace tandem::l7::dns
