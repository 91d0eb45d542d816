// Whether this build is one of a sanitizer, which takes several times the time and memory.
#pragma once

namespace l2a::test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#elif defined(__has_feature)
inline constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#else
inline constexpr bool kAddressSanitizer = false;
#endif

// What takes minutes at full speed of one core is left to builds that have it: not to those of a sanitizer, nor to what an
// emulator runs (tests/aarch64/).
#if defined(L2A_EMULATED)
inline constexpr bool kSlow = true;
#else
inline constexpr bool kSlow = kAddressSanitizer;
#endif

}  // namespace l2a::test
