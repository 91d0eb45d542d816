// Splits rows of q8_0 weights in place (split_rows.h). A workgroup has a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
layout(constant_id = 2) const uint kBlocks = 8;  // of a row, a multiple of eight
layout(push_constant, scalar) uniform Push {
  uint64_t weights;
  uint rows, unused;
};
const uint kRowWords = kBlocks * kQ8Bytes / 4;
shared uint row_words[kRowWords];

uint half_word(uint i) { return row_words[i / 2] >> 16 * (i % 2) & 0xffffu; }
void main() {
  if (group_x() >= rows) return;
  U32 row = U32(weights + uint64_t(group_x()) * (kRowWords * 4));
  for (uint i = lane(); i < kRowWords; i += lanes()) row_words[i] = row.v[i];
  barrier();
  for (uint i = lane(); i < kBlocks * 8; i += lanes()) {
    const uint block = i / 8, word = i % 8, from = block * (kQ8Bytes / 2) + 1 + 2 * word;
    const uint before = block & ~(kSplitBlocks - 1), together = min(kBlocks - before, kSplitBlocks);
    const uint to = 8 * before + (word / 4 * together + block - before) * 4 + word % 4;
    row.v[to] = half_word(from) | half_word(from + 1) << 16;
  }
  for (uint i = lane(); i < kBlocks / 2; i += lanes()) {
    const uint from = 2 * i * (kQ8Bytes / 2);
    row.v[8 * kBlocks + i] = half_word(from) | half_word(from + kQ8Bytes / 2) << 16;
  }
}
