#include "graph/thread_pool.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "graph/error.h"

namespace l2a {
namespace {

constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
constexpr std::uint64_t kCallerSleeps = std::uint64_t{1} << 30;
constexpr std::uint64_t kInside = kCallerSleeps - 1;

// Chunks a thread: enough that the last one to finish is late by little, few enough that claiming
// is free.
constexpr std::int64_t kChunksPerThread = 8;

// Longer than the gap between two ops of a graph, shorter than anyone's idea of idle.
constexpr auto kSpin = std::chrono::microseconds(40);

std::uint32_t loop_number(std::uint64_t state) { return static_cast<std::uint32_t>(state >> 32); }

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `ready()` or until kSpin has passed; says whether it became ready.
template <class Ready>
bool spin_until(Ready ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) {
        return true;
      }
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

int default_thread_count() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    return std::max(1, CPU_COUNT(&allowed));
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int threads, bool pin) {
  if (threads == 0) threads = default_thread_count();
  if (pin && threads > default_thread_count()) {
    throw Error(concat("cannot pin ", threads, " threads: this process may run on ",
                       default_thread_count(), " CPUs"));
  }
  try {
    for (int i = 1; i < threads; ++i) {
      workers_.emplace_back([this] { work(); });
    }
  } catch (const std::system_error& error) {
    stop_workers();
    throw Error(concat("cannot start ", threads, " CPU threads: ", error.code().message()));
  }
  if (!pin) return;
  try {
    pin_workers();
  } catch (...) {
    stop_workers();
    throw;
  }
}

void ThreadPool::pin_workers() {
#if defined(__linux__)
  cpu_set_t allowed;
  int error = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? 0 : errno;
  int cpu = -1;
  const auto next = [&] {
    for (++cpu; cpu < CPU_SETSIZE && !CPU_ISSET(cpu, &allowed);) ++cpu;
  };
  next();  // the caller's
  for (std::thread& worker : workers_) {
    next();
    if (error != 0 || cpu == CPU_SETSIZE) break;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
    error = pthread_setaffinity_np(worker.native_handle(), sizeof(own), &own);
  }
  if (error != 0)
    throw Error(concat("cannot pin CPU threads: ", std::generic_category().message(error)));
#else
  throw Error("threads can be pinned on Linux only");
#endif
}

ThreadPool::~ThreadPool() { stop_workers(); }

void ThreadPool::stop_workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_workers_.notify_all();
  for (std::thread& worker : workers_) {
    worker.join();
  }
}

void ThreadPool::run(std::int64_t count, std::int64_t grain, Call call, void* body) {
  if (count <= 0) {
    return;
  }
  grain = std::max<std::int64_t>(grain, 1);
  if (workers_.empty() || count <= grain || busy_.exchange(true, std::memory_order_acquire)) {
    call(body, 0, count);
    return;
  }
  const std::int64_t even = (count - 1) / (threads() * kChunksPerThread) + 1;
  const std::int64_t chunk = std::max(grain, even);
  loop_ = {call, body, count, chunk, (count - 1) / chunk + 1};
  next_chunk_.store(0, std::memory_order_relaxed);
  open_loop();
  run_chunks();
  close_loop();
  busy_.store(false, std::memory_order_release);
}

// Relaxed: a chunk number is only a ticket. `loop_` was published by state_, and what the bodies
// wrote is published by leave().
void ThreadPool::run_chunks() {
  for (;;) {
    const std::int64_t i = next_chunk_.fetch_add(1, std::memory_order_relaxed);
    if (i >= loop_.chunks) {
      return;
    }
    const std::int64_t begin = i * loop_.chunk;
    loop_.call(loop_.body, begin, i + 1 == loop_.chunks ? loop_.count : begin + loop_.chunk);
  }
}

void ThreadPool::open_loop() {
  const std::uint64_t number =
      loop_number(state_.load(std::memory_order_relaxed)) + std::uint64_t{1};
  // Sequentially consistent with the worker's sleepers_ increment and state_ load: either the
  // worker sees this loop before it sleeps, or this sees the sleeper and wakes it.
  state_.store(number << 32 | kOpen);
  if (sleepers_.load() > 0) {
    { const std::lock_guard lock(mutex_); }  // a sleeper is now past its check and inside wait()
    wake_workers_.notify_all();
  }
}

void ThreadPool::close_loop() {
  state_.fetch_and(~kOpen, std::memory_order_relaxed);
  const auto all_left = [this] { return (state_.load(std::memory_order_acquire) & kInside) == 0; };
  if (spin_until(all_left)) {
    return;
  }
  if ((state_.fetch_or(kCallerSleeps, std::memory_order_acq_rel) & kInside) != 0) {
    std::unique_lock lock(mutex_);
    wake_caller_.wait(lock, all_left);
  }
}

void ThreadPool::leave() {
  const std::uint64_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & kCallerSleeps) != 0 && (before & kInside) == 1) {
    { const std::lock_guard lock(mutex_); }
    wake_caller_.notify_one();
  }
}

void ThreadPool::work() {
  std::uint32_t seen = 0;
  while (wait_for_loop(seen)) {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    seen = loop_number(state);
    while ((state & kOpen) != 0 && loop_number(state) == seen) {
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        run_chunks();
        leave();
        break;
      }
    }
  }
}

// Returns when there is a loop other than `seen`, or false when the pool is being destroyed.
bool ThreadPool::wait_for_loop(std::uint32_t seen) {
  const auto ready = [this, seen] { return loop_number(state_.load()) != seen || stop_.load(); };
  if (!spin_until(ready)) {
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    wake_workers_.wait(lock, ready);
    sleepers_.fetch_sub(1);
  }
  return !stop_.load();
}

}  // namespace l2a
