# SPDX-License-Identifier: MIT
# The target docs: the API reference, from the comments in the public headers.
find_package(Doxygen QUIET)
if(NOT DOXYGEN_FOUND)
  message(STATUS "Doxygen not found: no target docs")
  return()
endif()

configure_file(cmake/Doxyfile.in Doxyfile @ONLY)
add_custom_target(docs
  COMMAND Doxygen::doxygen ${PROJECT_BINARY_DIR}/Doxyfile
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  COMMENT "Writing ${PROJECT_BINARY_DIR}/docs/html/index.html"
  VERBATIM)
