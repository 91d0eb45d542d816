#include "graph/thread_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <limits>
#include <numeric>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "graph/error.h"

namespace l2a {
namespace {

TEST_CASE("every index is visited exactly once, whatever the count, grain and thread count") {
  for (const int threads : {-1, 1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == std::max(threads, 1));
    for (const std::int64_t count : {0, 1, 2, 7, 64, 1000, 4097}) {
      for (const std::int64_t grain : {-1, 1, 3, 100, 5000}) {
        std::vector<int> visits(static_cast<std::size_t>(count),
                                0);  // plain ints: TSAN would object
        pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            ++visits[static_cast<std::size_t>(i)];
          }
        });
        REQUIRE(std::all_of(visits.begin(), visits.end(), [](int n) { return n == 1; }));
      }
    }
  }
}

TEST_CASE("ranges are no shorter than the grain, except the last") {
  ThreadPool pool(4);
  std::atomic<int> short_ranges{0};
  pool.parallel_for(1000, 30, [&](std::int64_t begin, std::int64_t end) {
    short_ranges += end - begin < 30 && end != 1000;
  });
  CHECK(short_ranges == 0);
}

TEST_CASE("a huge count does not overflow") {
  ThreadPool pool(3);
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> total{0};
  pool.parallel_for(kHuge, 1, [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
  CHECK(total == kHuge);
}

TEST_CASE("back-to-back loops see each other's writes") {
  ThreadPool pool(4);
  std::vector<std::int64_t> values(257, 0);
  for (int round = 0; round < 20000; ++round) {
    pool.parallel_for(257, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        // Reads what another thread wrote in the round before.
        values[static_cast<std::size_t>(i)] += 1;
      }
    });
    if (round % 64 == 0) {
      REQUIRE(std::accumulate(values.begin(), values.end(), std::int64_t{0}) == 257 * (round + 1));
    }
  }
}

TEST_CASE("workers that fell asleep join later loops, and a sleeping caller is woken") {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<int> arrived{0};
    // Each of the three ranges waits for the other two: passes only if three threads take part.
    pool.parallel_for(3, 1, [&](std::int64_t begin, std::int64_t) {
      ++arrived;
      while (arrived < 3) {
        std::this_thread::yield();
      }
      if (begin != 0) {  // long enough for the caller to stop spinning
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    CHECK(arrived == 3);
  }
}

TEST_CASE("a nested loop runs on the thread that asks for it") {
  ThreadPool pool(4);
  std::atomic<int> total{0};
  std::atomic<int> strangers{0};
  pool.parallel_for(16, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto self = std::this_thread::get_id();
      pool.parallel_for(10, 1, [&](std::int64_t b, std::int64_t e) {
        strangers += std::this_thread::get_id() != self;
        total += static_cast<int>(e - b);
      });
    }
  });
  CHECK(total == 160);
  CHECK(strangers == 0);
}

TEST_CASE("two threads may use one pool") {
  ThreadPool pool(3);
  std::atomic<std::int64_t> total{0};
  const auto use = [&] {
    for (int round = 0; round < 2000; ++round) {
      pool.parallel_for(100, 1,
                        [&](std::int64_t begin, std::int64_t end) { total += end - begin; });
    }
  };
  std::thread other(use);
  use();
  other.join();
  CHECK(total == 2 * 2000 * 100);
}

TEST_CASE("pools are created and destroyed cleanly, used or not, awake or asleep") {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(4);
    if (round % 3 == 1) {
      pool.parallel_for(100, 1, [](std::int64_t, std::int64_t) {});
    }
    if (round % 10 == 2) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

TEST_CASE("an idle pool burns no CPU") {
  ThreadPool pool(4);
  pool.parallel_for(100, 1, [](std::int64_t, std::int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const double busy_ms = 1000.0 * static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  CHECK(busy_ms < 20);  // three spinning workers would take at least the 100 ms of one core
}

#if defined(__linux__)
TEST_CASE("pinned workers stay on CPUs of their own, the caller where it may be") {
  const int threads = std::min(default_thread_count(), 4);
  ThreadPool pool(threads, true);
  // One range each, held until all have begun: each thread takes one.
  std::atomic<int> begun = 0;
  std::vector<cpu_set_t> sets(static_cast<std::size_t>(threads));
  std::vector<std::thread::id> ids(sets.size());
  pool.parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t) {
    ++begun;
    while (begun < threads) std::this_thread::yield();
    const auto i = static_cast<std::size_t>(begin);
    ids[i] = std::this_thread::get_id();
    sched_getaffinity(0, sizeof(cpu_set_t), &sets[i]);
  });
  cpu_set_t all;
  CPU_ZERO(&all);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (ids[i] == std::this_thread::get_id()) continue;
    CHECK(CPU_COUNT(&sets[i]) == 1);
    CPU_OR(&all, &all, &sets[i]);
  }
  CHECK(CPU_COUNT(&all) == threads - 1);
  CHECK(default_thread_count() >= threads);
  const std::string fault =
      concat("cannot pin ", default_thread_count() + 1, " threads: this process may run on ",
             default_thread_count(), " CPUs");
  CHECK_THROWS_WITH_AS(ThreadPool(default_thread_count() + 1, true), fault.c_str(), Error);
}
#endif

TEST_CASE("a const body can be called") {
  ThreadPool pool(2);
  std::atomic<std::int64_t> total{0};
  const auto body = [&](std::int64_t begin, std::int64_t end) { total += end - begin; };
  pool.parallel_for(50, 1, body);
  CHECK(total == 50);
}

}  // namespace
}  // namespace l2a
