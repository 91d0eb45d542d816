// Values that pass between dispatches without a barrier between them (links.h). Each says itself whether it is there:
// when a run begins all are kUnwritten. Needs `links` of the push constants, and constants kWaits, kRaises, kLooks.
const uint kUnwritten = 0xfffffffeu;  // as links.h has it; a NaN

layout(buffer_reference, scalar, buffer_reference_align = 4) coherent volatile buffer Link { uint v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) coherent volatile buffer Link4 { uvec4 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer LinkHead { uint64_t failed_for_host; };

float look(uint64_t row, uint i) {
  return kWaits ? uintBitsToFloat(Link(row).v[i]) : Passed(row).v[i];
}
vec4 look4(uint64_t row, uint i) {
  return kWaits ? uintBitsToFloat(Link4(row).v[i]) : Passed4(row).v[i];
}
bool is_missing(float x) { return floatBitsToUint(x) == kUnwritten; }
bool is_missing(vec4 x) { return any(equal(floatBitsToUint(x), uvec4(kUnwritten))); }

// Whether to look again, after `looks` times and with something missing. One that gives up has all others give up.
bool looks_again(bool missing, inout uint looks) {
  if (!kWaits || !missing && kLooks > 0) return false;
  ++looks;
  Link failed = Link(links + 8);
  if (looks < kLooks && (looks % 256 != 0 || failed.v[0] == 0)) return true;
  failed.v[0] = 1;
  Link(LinkHead(links).failed_for_host).v[0] = 1;
  return false;
}
float awaited(uint64_t row, uint i) {
  float x;
  uint looks = 0;
  do {
    x = look(row, i);
  } while (looks_again(is_missing(x), looks));
  return x;
}

// As it may be passed on.
float passed(float x) { return kRaises && is_missing(x) ? uintBitsToFloat(0x7fc00000u) : x; }
