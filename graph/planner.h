// Places intermediates in one arena so that no two that are live at the same time overlap.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace l2a {

// Bytes needed from tick `first` to tick `last`, both included.
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct ArenaLayout {
  std::vector<std::size_t> offsets;  // in the order of the lifetimes
  std::size_t bytes = 0;             // of the whole arena
};

// Greedy by size: the largest first, each at the lowest offset that is free for its whole life. For
// the chains that decoders are, this meets the lower bound (the most bytes live at one tick) or
// comes within a few percent. Every offset is a multiple of `alignment`, a power of two.
ArenaLayout plan_arena(std::span<const Lifetime> lifetimes, std::size_t alignment);

}  // namespace l2a
