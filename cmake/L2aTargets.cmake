# How every target of the project is compiled, found and installed.

# Warnings and sanitizers, for the library, the programs and the tests alike. UNCHECKED: what only checks others is not
# looked at for undefined behaviour itself, nor for the branches that fuzzing takes; that doubles its compile time.
function(l2a_compile_options target)
  cmake_parse_arguments(PARSE_ARGV 1 arg UNCHECKED "" "")
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
    # GCC 13 and 14 suspect every reference that a function with a temporary argument returns.
    target_compile_options(${target} PRIVATE -Wno-dangling-reference)
  endif()
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # Instead of clang-tidy's bugprone-reserved-identifier, which looks at every name of every header.
    target_compile_options(${target} PRIVATE -Wreserved-identifier)
  endif()
  if(L2A_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(L2A_FUZZ AND NOT arg_UNCHECKED)
    # The code under test reports which of its branches an input took.
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(L2A_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=address -fno-omit-frame-pointer)
    if(NOT target STREQUAL l2a)
      # Programs and tests are compiled for longer than they run: optimised, twice as long.
      target_compile_options(${target} PRIVATE -O0)
    endif()
    if(NOT arg_UNCHECKED)
      # Types of objects are hardly ever in doubt here, and looking for them was a quarter of a program's compile time.
      target_compile_options(${target} PRIVATE -fsanitize=undefined -fno-sanitize=vptr -fno-sanitize-recover=all)
    endif()
    target_link_options(${target} PUBLIC -fsanitize=address,undefined)
  endif()
endfunction()

# Adds every source file of a folder to the library; a new op or kernel is a new file and nothing else.
function(l2a_add_folder folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp)
  target_sources(l2a PRIVATE ${sources})
endfunction()

# Says which optional toolkits are here. A backend joins the library when its folder has a CMakeLists.txt.
function(l2a_report_optional_backends)
  foreach(backend cuda vulkan)
    string(TOUPPER ${backend} upper)
    set(L2A_HAS_${upper} OFF CACHE INTERNAL "")
    if(NOT L2A_${upper})
      message(STATUS "l2a: ${backend} backend: off")
    elseif(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/backends/${backend}/CMakeLists.txt)
      add_subdirectory(backends/${backend})
    else()
      message(STATUS "l2a: ${backend} backend: not part of this version; the CPU backend is built")
    endif()
  endforeach()
endfunction()

function(l2a_install)
  include(CMakePackageConfigHelpers)
  install(TARGETS l2a EXPORT l2a-targets)
  foreach(folder graph ops backends models convert)
    install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/l2a FILES_MATCHING PATTERN "*.h")
  endforeach()
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/l2a)
  install(EXPORT l2a-targets NAMESPACE l2a:: DESTINATION ${package_dir})
  configure_package_config_file(cmake/l2a-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/l2a-config.cmake
    INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/l2a-config-version.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/l2a-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/l2a-config-version.cmake DESTINATION ${package_dir})
endfunction()
