# SPDX-License-Identifier: MIT
# What tests, examples and benchmarks need: the installed package where there is one, else a download.
# The library itself needs only libc and threads, and xxhash.cmake to be built.
include(FetchContent)

function(uffd_declare name repository tag version)
  set(system)
  if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.25)
    set(system SYSTEM)
  endif()
  FetchContent_Declare(${name}
    GIT_REPOSITORY https://github.com/${repository}.git
    GIT_TAG ${tag}
    GIT_SHALLOW TRUE
    ${system}
    FIND_PACKAGE_ARGS ${version} ${ARGN})
endfunction()

uffd_declare(fmt fmtlib/fmt 11.2.0 9)
uffd_declare(googletest google/googletest v1.17.0 1.12 NAMES GTest)
uffd_declare(benchmark google/benchmark v1.9.4 1.7)
uffd_declare(CLI11 CLIUtils/CLI11 v2.5.0 2.1)

# In a function, so that the settings for downloaded projects stay here.
function(uffd_make_available)
  set(CMAKE_CXX_CLANG_TIDY "")
  set(BUILD_SHARED_LIBS OFF)
  set(INSTALL_GTEST OFF)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  FetchContent_MakeAvailable(${ARGN})
endfunction()

uffd_make_available(fmt)
if(UFFDPP_BUILD_TESTS)
  uffd_make_available(googletest)
endif()
if(UFFDPP_BUILD_BENCHMARKS)
  uffd_make_available(benchmark)
endif()
if(UFFDPP_BUILD_TESTS OR UFFDPP_BUILD_EXAMPLES OR UFFDPP_BUILD_BENCHMARKS)
  uffd_make_available(CLI11)
endif()

# One example needs it, and is left out where it is missing.
if(UFFDPP_BUILD_EXAMPLES)
  find_path(UFFDPP_ZSTD_INCLUDE_DIR zstd.h)
  find_library(UFFDPP_ZSTD_LIBRARY zstd)
  mark_as_advanced(UFFDPP_ZSTD_INCLUDE_DIR UFFDPP_ZSTD_LIBRARY)
  if(UFFDPP_ZSTD_INCLUDE_DIR AND UFFDPP_ZSTD_LIBRARY)
    add_library(uffd_zstd INTERFACE)
    target_include_directories(uffd_zstd SYSTEM INTERFACE ${UFFDPP_ZSTD_INCLUDE_DIR})
    target_link_libraries(uffd_zstd INTERFACE ${UFFDPP_ZSTD_LIBRARY})
  endif()
endif()
