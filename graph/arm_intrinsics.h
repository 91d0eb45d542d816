// 64-bit ARM's vector intrinsics, and how a function is compiled for more than every such processor has.
//
// NEON is part of the architecture and needs no attribute. Functions that multiply bytes by `vdotq_s32` carry it, so that
// no source file needs flags of its own and one program runs on older processors too.
#pragma once

#if defined(__aarch64__)

#include <arm_neon.h>

#define L2A_DOTPROD [[gnu::target("arch=armv8.2-a+dotprod")]]

#endif
