#include "backends/cuda/check.h"

#include "graph/error.h"

namespace l2a::cuda {

void fail(cudaError_t error, std::string_view doing) {
  const char* advice = "";
  switch (error) {
    case cudaErrorNoDevice:
      advice = "; this machine shows no NVIDIA GPU";
      break;
    case cudaErrorInsufficientDriver:
      advice = "; the NVIDIA driver is missing or older than the CUDA toolkit of this build";
      break;
    case cudaErrorNoKernelImageForDevice:
      advice = "; this build has no code for this GPU (see L2A_CUDA_ARCHITECTURES)";
      break;
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
      advice = "; a kernel failed, and this process can no longer use the GPU";
      break;
    default:
      break;
  }
  throw Error(concat("CUDA: ", doing, ": ", cudaGetErrorString(error), advice));
}

}  // namespace l2a::cuda
