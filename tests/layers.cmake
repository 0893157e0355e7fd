# SPDX-License-Identifier: MIT
# cmake -P tests/layers.cmake [ROOT]: a file includes only what stands above it in this list.
cmake_minimum_required(VERSION 3.24)

set(header_only
  version
  detail/uapi
  detail/syscall
  detail/process
  error
  flags
  page_range
  unique_fd
  open_options
  detail/pagemap
  detail/open
  detail/adopt
  detail/descriptor
  handle
  support
  mapping
  region_info
  detail/close_range
  region
  message
  message_reader
  resolve)
set(compiled
  detail/export
  range_table
  latency_histogram
  handler_statistics
  fault
  deferred_fault
  callbacks
  fault_handler_options
  served_region
  handed_over
  fault_handler
  fault_loop
  sigbus_handler
  handoff
  handle_keeper
  tracking/write_tracker
  tracking/snapshot_file
  tracking/snapshot_chain
  tracking/snapshot_options
  tracking/snapshot
  pager/page_source
  pager/any_source
  pager/memory_source
  pager/file_source
  pager/snapshot_source
  pager/map_options
  pager/memory_budget
  pager/working_set
  pager/recording
  pager/page_sharing
  pager/paged_memory
  pager/pager
  pager/shared_pages
  format  # the only one that includes fmt; no other header includes it
  uffd)
set(layers ${header_only} ${compiled})

set(root ${CMAKE_CURRENT_LIST_DIR}/..)
if(CMAKE_ARGC GREATER 3)
  set(root ${CMAKE_ARGV3})
endif()
cmake_path(ABSOLUTE_PATH root NORMALIZE)

set(violations)
macro(violation text)
  list(APPEND violations "  ${file}: ${text}")
endmacro()

# Every public header, and every file in src/ that bears a public header's name, has its place in the
# list; detail/x.ipp holds bodies of x.hpp. Other files in src/ are private: they may use all public
# headers, but no public header uses them.
file(GLOB_RECURSE files RELATIVE ${root}
  ${root}/include/uffd/*.hpp ${root}/include/uffd/*.ipp ${root}/src/*.hpp ${root}/src/*.cpp)
if(NOT files)
  message(FATAL_ERROR "No headers in ${root}")
endif()

function(layer_of path result)
  string(REGEX REPLACE "^(include/uffd|src|uffd)/" "" name ${path})
  if(name MATCHES "\\.ipp$")
    string(REPLACE "detail/" "" name ${name})
  endif()
  cmake_path(REMOVE_EXTENSION name)
  set(${result} ${name} PARENT_SCOPE)
endfunction()

foreach(file IN LISTS files)
  layer_of(${file} name)
  list(FIND layers ${name} place)
  string(REGEX MATCH "^src/" in_src ${file})
  if(file STREQUAL "src/detail/uapi.cpp")  # checks the header against the system's; no body of it
    list(LENGTH layers place)
  elseif(in_src AND name IN_LIST header_only)
    violation("belongs to the header-only part, which has no sources")
  elseif(in_src AND place LESS 0)
    list(LENGTH layers place)
  elseif(place LESS 0)
    violation("not in the list of tests/layers.cmake")
    continue()
  endif()

  file(STRINGS ${root}/${file} includes REGEX "^ *# *include ")
  foreach(include IN LISTS includes)
    string(REGEX REPLACE "^[^<\"]*[<\"]([^>\"]+)[>\"].*" "\\1" path ${include})
    if(path MATCHES "^fmt/" AND NOT name STREQUAL "format")
      violation("${path} may be included by format.hpp only")
    elseif(path MATCHES "^uffd/")
      layer_of(${path} other)
      list(FIND layers ${other} other_place)
      if(other_place LESS 0)
        violation("${path} is not in the list of tests/layers.cmake")
      elseif(other_place GREATER place)
        violation("${path} does not stand above it")
      elseif(other STREQUAL "format" AND NOT name STREQUAL "format")
        violation("${path} may be included by users only")
      endif()
    elseif(NOT in_src AND include MATCHES "\"")
      violation("${path} is private, or should be written uffd/...")
    endif()
  endforeach()
endforeach()

if(violations)
  list(JOIN violations "\n" violations)
  message(FATAL_ERROR "Against the layers of the library:\n${violations}\n")
endif()
list(LENGTH files count)
message(STATUS "${count} files keep to their layers")
