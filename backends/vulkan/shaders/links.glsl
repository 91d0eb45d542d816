// Dispatches that follow one another without a barrier between them (links.h). The later one's workgroups begin when there
// is room for them, read what no dispatch writes, weights, and then wait until those of the earlier one have raised
// a counter, once they have written all that they write. What one of them wrote is read through coherent references.
//
// Needs `links` and `link` of the push constants, and constants kWaits, kRaises and kLooks.
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent volatile buffer Link { uint v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer LinkHead {
  uint64_t failed_for_host;  // address of a word that the host sees
  uint failed;
};
const uint kLinkBytes = 64;  // of a counter; as links.h has it

// Numbers are from 1, after the head. The low half of `link` is this dispatch's number, the other how high the counter of the one before will be.
uint64_t link_counter(uint number) { return links + uint64_t(number) * kLinkBytes; }

// By all lanes, in uniform control flow. Another dispatch's failure ends it too.
void wait_for_link() {
  if (!kWaits) return;
  if (lane() == 0) {
    Link counter = Link(link_counter((link & 0xffffu) - 1)), failed = Link(links + 8);
    const uint expected = link >> 16;
    uint turn = 0;
    for (; turn < kLooks && counter.v[0] < expected; ++turn) {
      if (turn % 256 == 255 && failed.v[0] != 0) break;
    }
    if (turn == kLooks) {
      failed.v[0] = 1;
      Link(LinkHead(links).failed_for_host).v[0] = 1;
    }
    memoryBarrierBuffer();
  }
  barrier();
}

// By all lanes, in uniform control flow, after all that they write.
void raise_link() {
  if (!kRaises) return;
  memoryBarrierBuffer();
  barrier();
  if (lane() == 0) atomicAdd(Link(link_counter(link & 0xffffu)).v[0], 1);
}
