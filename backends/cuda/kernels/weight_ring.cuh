// A warp's weights on their way: the rows of its tasks in chunks, several ahead of what it computes, in a ring in shared
// memory. On Hopper the copy engine brings a row's chunk by one instruction of one lane, so that other loads need not
// queue behind thousands of small copies; elsewhere lanes copy 16 bytes each.
#pragma once

#include "backends/cuda/kernels/async_copy.cuh"
#include "backends/cuda/kernels/barrier.cuh"
#include "backends/cuda/kernels/matvec.cuh"
#include "backends/cuda/kernels/units.cuh"

namespace l2a::cuda {

constexpr int kMostStages = 8;  // async_copy.cuh waits for as many less two

template <Dtype dtype>
struct Chunks {
  static constexpr int kChunkBytes = 32 / Unit<dtype>::kLanes * Unit<dtype>::kBlockBytes;
  // Unless blocks are whole 16 bytes: up to 15 bytes before a row's own, and the last word's neighbour after.
  static constexpr int kRowBytes =
      Unit<dtype>::kBlockBytes % 16 == 0 ? kChunkBytes : (kChunkBytes + 15 + 4 + 15) / 16 * 16;
  static constexpr int kStageBytes = 2 * kRowBytes;
};

// Two rows at a time. Where a row's bytes begin in a stage is where they do in 16 bytes of the file, the same for all its
// chunks, whose sizes are multiples of 16. All lanes call everything together.
template <Dtype dtype>
class WeightRing {
  using Place = Chunks<dtype>;

 public:
  __device__ WeightRing(const MatvecTasks& tasks, std::int64_t row_bytes, std::uint8_t* ring,
                        Barrier* arrivals, int stages, int first, int stride, int total)
      : tasks_(tasks),
        row_bytes_(row_bytes),
        ring_(ring),
        arrivals_(arrivals),
        stages_(stages),
        stride_(stride),
        total_(total),
        task_(first) {
#if __CUDA_ARCH__ >= 900
    if (threadIdx.x % 32 == 0) {
      for (int i = 0; i < stages; ++i) init_barrier(arrivals + i, 1);
      publish_barriers();
    }
    __syncwarp();
#endif
  }

  // Brings the first chunks. Before next() is called they are as many as there is room for: one less than stages.
  __device__ void start(int chunks) {
    for (int i = 0; i < chunks; ++i) fetch();
  }
  // There are more tasks than were known at the start. Fetches that found none are made up for.
  __device__ void extend(int total) {
    total_ = total;
    for (int missed = missed_; missed > 0; --missed) fetch();
  }

  // The next chunk of the tasks in order, there for all lanes until the next call.
  __device__ const std::uint8_t* next() {
#if __CUDA_ARCH__ >= 900
    wait(arrivals_ + stage_, phase_);
#else
    wait_copies_to(stages_ - 2);
#endif
    __syncwarp();
    const std::uint8_t* const bytes = ring_ + stage_ * Place::kStageBytes;
    if (++stage_ == stages_) {
      stage_ = 0;
      phase_ ^= 1;
    }
    fetch();  // into the stage that all lanes have finished with
    return bytes;
  }

 private:
  __device__ void fetch() {
    if (left_ <= 0) {
      if (task_ >= total_) {
        ++missed_;
        return commit();
      }
      const MatvecRows rows = tasks_.rows(task_, row_bytes_);
      task_ += stride_;
      left_ = static_cast<int>(row_bytes_);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        before_[r] = static_cast<int>(reinterpret_cast<std::uintptr_t>(rows.row[r]) & 15);
        from_[r] = rows.row[r] - before_[r];
      }
      second_ = rows.second;
    }
    copy(min(left_, Place::kChunkBytes));
#pragma unroll
    for (int r = 0; r < 2; ++r) from_[r] += Place::kChunkBytes;
    left_ -= Place::kChunkBytes;
    if (++fetched_ == stages_) fetched_ = 0;
    commit();
  }

#if __CUDA_ARCH__ >= 900
  __device__ void copy(int bytes) const {
    if (threadIdx.x % 32 != 0) return;
    Barrier* const arrival = arrivals_ + fetched_;
    const std::uint32_t to = shared_address(ring_ + fetched_ * Place::kStageBytes);
    const int first = (before_[0] + bytes + 15) / 16 * 16;
    const int second = second_ ? (before_[1] + bytes + 15) / 16 * 16 : 0;
    arrive_expecting(arrival, first + second);
    bulk_copy(to, from_[0], first, arrival);
    if (second_) bulk_copy(to + Place::kRowBytes, from_[1], second, arrival);
  }
  __device__ void commit() const {}
#else
  __device__ void copy(int bytes) const {
    const int at = 16 * static_cast<int>(threadIdx.x % 32);
    const std::uint32_t to = shared_address(ring_ + fetched_ * Place::kStageBytes);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int end = r == 0 || second_ ? before_[r] + bytes : 0;
#pragma unroll
      for (int b = 0; b < Place::kRowBytes; b += 16 * 32) {
        if (at + b < end) copy16_to(to + r * Place::kRowBytes + at + b, from_[r] + at + b);
      }
    }
  }
  __device__ void commit() const { commit_copies(); }
#endif

  const MatvecTasks& tasks_;
  const std::int64_t row_bytes_;
  std::uint8_t* const ring_;
  Barrier* const arrivals_;
  const int stages_, stride_;
  int total_, task_, left_ = 0, missed_ = 0;  // left: bytes of the task's rows
  int fetched_ = 0, stage_ = 0, phase_ = 0;   // next stages to fill and to read
  const std::byte* from_[2];
  int before_[2];
  bool second_ = false;
};

}  // namespace l2a::cuda
