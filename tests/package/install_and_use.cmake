# Installs the build to a folder of its own, builds the project beside this file against it, runs both.
# Given: BUILD (of l2a), WORK (emptied first), COMPILER, GENERATOR, CONFIG.
set(prefix ${WORK}/prefix)

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK}/build -G ${GENERATOR}
  -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=${CONFIG} -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer)
# An installed program needs nothing of the build folder.
run(${prefix}/bin/l2a-convert --version)
# Sanitized builds are large.
file(REMOVE_RECURSE ${WORK})
