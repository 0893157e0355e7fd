# SPDX-License-Identifier: MIT
# Builds a consumer with nothing but a compiler and pkg-config, and runs it.
cmake_minimum_required(VERSION 3.24)

set(ENV{PKG_CONFIG_PATH} ${PKG_CONFIG_PATH})
function(pkg_config result)
  execute_process(
    COMMAND ${PKG_CONFIG} ${ARGN} "uffd >= ${VERSION}"
    OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(output UNIX_COMMAND "${output}")
  set(${result} ${output} PARENT_SCOPE)
endfunction()

pkg_config(cflags --cflags)
pkg_config(libs --libs)
pkg_config(libdir --variable=libdir)
separate_arguments(flags UNIX_COMMAND "${FLAGS}")
execute_process(
  COMMAND ${COMPILER} ${flags} -std=c++20 ${cflags} ${CMAKE_CURRENT_LIST_DIR}/project/compiled.cpp
    -o ${OUTPUT} ${libs} -Wl,-rpath,${libdir}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OUTPUT} COMMAND_ERROR_IS_FATAL ANY)
