// Which keys are seen from a position, and where they lie in a cache. Needs kDtype and kDim, of the cache,
// key_heads, capacity, cache_sinks, window and sinks, and kFresh: whether keys of this run are elsewhere.
const float kNone = -3.402823466e38;  // below every score

// Keys that are seen, one after the other: the sinks [0, sinks_end), then [begin, end). Older ones than
// this run's first token are in the cache, whose slots follow one another and wrap at its end.
struct Range {
  uint sinks_end, begin, end, begin_slot, start;
};
uint position_of(Range range, uint i) {
  return i < range.sinks_end ? i : i - range.sinks_end + range.begin;
}
uint64_t address_of(Range range, uint64_t cache, uint64_t fresh, uint position, uint head) {
  const uint64_t bytes = key_heads * values_bytes(kDtype, kDim);
  const uint64_t offset = head * values_bytes(kDtype, kDim);
  if (kFresh && position >= range.start) {
    return fresh + (position - range.start) * bytes + offset;
  }
  uint slot = position;
  if (position >= range.begin) slot = range.begin_slot + (position - range.begin);
  if (slot >= capacity) slot -= capacity - cache_sinks;
  return cache + min(slot, capacity - 1) * bytes + offset;
}

uint seen_window() { return window == 0 ? 0x7fffffffu : window; }
// What any of the positions from first to last sees.
Range range_of(uint first, uint last, uint start) {
  Range range;
  range.start = start;
  range.end = last + 1;
  range.begin = first + 1 > seen_window() ? first + 1 - seen_window() : 0;
  range.sinks_end = min(sinks, range.begin);
  range.begin_slot = range.begin < cache_sinks
                         ? range.begin
                         : cache_sinks + (range.begin - cache_sinks) % (capacity - cache_sinks);
  return range;
}
uint key_count(Range range) { return range.sinks_end + range.end - range.begin; }
