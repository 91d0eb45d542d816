#include "graph/planner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

using l2a::ArenaLayout;
using l2a::Lifetime;

namespace {

bool overlap(std::size_t a, std::size_t a_bytes, std::size_t b, std::size_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

}  // namespace

TEST_CASE("no two tensors that are live together overlap, on random lifetimes") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> lives(1 + random() % 60);
    for (Lifetime& life : lives) {
      life.first = static_cast<int>(random() % 40);
      life.last = life.first + static_cast<int>(random() % 12);
      life.bytes = random() % 5000;
    }
    const std::size_t alignment = std::size_t{1} << (random() % 9);
    const ArenaLayout layout = l2a::plan_arena(lives, alignment);
    for (std::size_t a = 0; a < lives.size(); ++a) {
      CHECK(layout.offsets[a] % alignment == 0);
      CHECK(layout.offsets[a] + lives[a].bytes <= layout.bytes);
      for (std::size_t b = 0; b < a; ++b) {
        const bool together = lives[a].first <= lives[b].last && lives[b].first <= lives[a].last;
        if (!together) continue;
        CHECK_FALSE(overlap(layout.offsets[a], lives[a].bytes, layout.offsets[b], lives[b].bytes));
      }
    }
  }
}

TEST_CASE("memory is reused: a chain needs room for two, not for all") {
  std::vector<Lifetime> chain;
  for (int i = 0; i < 100; ++i) chain.push_back({1024, i, i + 1});
  CHECK(l2a::plan_arena(chain, 256).bytes == 2048);
}

TEST_CASE("an empty graph needs no arena") { CHECK(l2a::plan_arena({}, 256).bytes == 0); }
