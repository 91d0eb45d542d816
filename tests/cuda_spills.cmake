# Compiles the kernels of products and of attention for Hopper and reads what the assembler says of them: everything
# stays in registers, and warpgroups' products run on while others are issued. Those written for Hopper use its
# instructions. NVCC: the compiler; ROOT: the repository; WORK: a folder for the results; HOST: the host compiler.
set(kernels quantized_matvec float_matvec half_product decode_attention prefill_attention hopper_product
  hopper_attention grouped_product group_rows)
file(MAKE_DIRECTORY ${WORK})
set(seen 0)
foreach(kernel ${kernels})
  execute_process(
    COMMAND ${NVCC} -ccbin ${HOST} -std=c++20 -I${ROOT} -DL2A_CUDA_HOPPER -cubin -gencode arch=compute_90a,code=sm_90a
      -Xptxas -v
      ${ROOT}/backends/cuda/kernels/${kernel}.cu -o ${WORK}/${kernel}.cubin
    OUTPUT_VARIABLE said ERROR_VARIABLE said RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${kernel}.cu does not compile: ${said}")
  endif()
  if(said MATCHES "Potential Performance Loss")
    message(SEND_ERROR "${kernel}.cu: ${said}")
  endif()
  string(REGEX MATCHALL "[0-9]+ bytes stack frame, [0-9]+ bytes spill stores, [0-9]+ bytes spill loads" functions "${said}")
  foreach(function ${functions})
    math(EXPR seen "${seen} + 1")
    if(NOT function STREQUAL "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
      message(SEND_ERROR "${kernel}.cu: ${function}")
    endif()
  endforeach()
endforeach()
foreach(kernel hopper_product hopper_attention grouped_product)
  execute_process(
    COMMAND ${NVCC} -ccbin ${HOST} -std=c++20 -I${ROOT} -DL2A_CUDA_HOPPER -ptx -gencode arch=compute_90a,code=compute_90a
      ${ROOT}/backends/cuda/kernels/${kernel}.cu -o ${WORK}/${kernel}.ptx RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${kernel}.cu does not compile to PTX")
  endif()
  file(READ ${WORK}/${kernel}.ptx ptx)
  foreach(instruction wgmma.mma_async cp.async.bulk.tensor mbarrier.try_wait setmaxnreg)
    if(NOT ptx MATCHES "${instruction}")
      message(SEND_ERROR "${kernel}.cu has no ${instruction}")
    endif()
  endforeach()
  if(kernel STREQUAL grouped_product AND NOT ptx MATCHES "m64n128k32.s32.s8.s8")
    message(SEND_ERROR "${kernel}.cu does not multiply int8 by wgmma")
  endif()
endforeach()
if(seen EQUAL 0)
  message(FATAL_ERROR "the assembler said nothing about registers")
endif()
message(STATUS "${seen} kernels, all in registers")
