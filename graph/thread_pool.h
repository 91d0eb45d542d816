// A pool of threads for loops, made for a decoder: hundreds of short parallel loops a token,
// microseconds apart, then silence until the next request.
//
//  - The caller is one of the threads. A pool of one has no threads of its own.
//  - Ranges are claimed from a shared counter, so a slow core or uneven work does not hold up the
//  rest.
//  - A loop never waits for a worker that has not woken: workers join a loop that is open, and the
//  caller
//    closes it when its ranges are gone.
//  - Between loops workers spin for tens of microseconds, the distance between two ops of a graph,
//  and
//    then sleep in the kernel: an idle pool costs nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace l2a {

// CPUs this process may run on (its affinity mask where there is one); at least 1.
int default_thread_count();

class ThreadPool {
 public:
  // 0: default_thread_count(). With `pin` each worker stays on a CPU of its own, and the first that this process may run
  // on is left to the caller, whose thread is not touched. Throws Error when the system does not give that many threads,
  // or cannot pin them.
  explicit ThreadPool(int threads = 0, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(begin, end) on ranges that cover [0, count) once, each at least `grain` long but the
  // last, and returns when all are done; what f wrote is then visible. An exception from f
  // terminates. Runs on the caller alone when there is only one range, and when the pool is already
  // in a loop: nested calls, and calls from a second thread, are right but not parallel.
  template <class F>
  void parallel_for(std::int64_t count, std::int64_t grain, F&& f) {
    using Body = std::remove_reference_t<F>;
    const auto call = [](void* body, std::int64_t begin, std::int64_t end) noexcept {
      (*static_cast<Body*>(body))(begin, end);
    };
    run(count, grain, call, const_cast<void*>(static_cast<const void*>(std::addressof(f))));
  }

 private:
  using Call = void (*)(void* body, std::int64_t begin, std::int64_t end) noexcept;
  struct Loop {
    Call call = nullptr;
    void* body = nullptr;
    std::int64_t count = 0;
    std::int64_t chunk = 1;
    std::int64_t chunks = 0;
  };

  void run(std::int64_t count, std::int64_t grain, Call call, void* body);
  void run_chunks();
  void open_loop();
  void close_loop();
  void work();
  bool wait_for_loop(std::uint32_t seen);
  void leave();
  void pin_workers();
  void stop_workers();

  // The loop in progress. Written by the caller while no worker is in a loop; `state_` publishes
  // it.
  Loop loop_;
  alignas(64) std::atomic<std::int64_t> next_chunk_{0};
  // Loop number << 32 | kOpen | kCallerSleeps | workers inside. One word, so that joining and
  // closing cannot cross: a worker joins only by a compare-exchange that still sees the loop open.
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<bool> busy_{false};  // a caller owns the pool
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;  // guards nothing but the two sleeps below
  std::condition_variable wake_workers_;
  std::condition_variable wake_caller_;
  std::vector<std::thread> workers_;
};

}  // namespace l2a
