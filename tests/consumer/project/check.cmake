# SPDX-License-Identifier: MIT
# The consumer's programs run, and it installs nothing: it has no install rule of its own.
foreach(program IN ITEMS compiled header_only)
  execute_process(COMMAND ${BINARY_DIR}/${program} COMMAND_ERROR_IS_FATAL ANY)
endforeach()

set(stage ${BINARY_DIR}/stage)
file(REMOVE_RECURSE ${stage})
execute_process(
  COMMAND ${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${stage}
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(GLOB_RECURSE installed ${stage}/*)
if(installed)
  message(FATAL_ERROR "the library installs files unasked: ${installed}")
endif()
