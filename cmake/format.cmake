# SPDX-License-Identifier: MIT
# cmake -P cmake/format.cmake             rewrites our sources as .clang-format says
# cmake -DCHECK=ON -P cmake/format.cmake  only tells which files differ, and fails if one does
cmake_minimum_required(VERSION 3.24)

find_program(CLANG_FORMAT NAMES clang-format-14 clang-format REQUIRED)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
set(patterns)
foreach(folder IN ITEMS include src tests examples bench)
  foreach(extension IN ITEMS hpp ipp cpp h c)
    list(APPEND patterns ${root}/${folder}/*.${extension})
  endforeach()
endforeach()
file(GLOB_RECURSE files ${patterns})

if(CHECK)
  set(mode --dry-run --Werror)
else()
  set(mode -i)
endif()
execute_process(COMMAND ${CLANG_FORMAT} ${mode} ${files} COMMAND_ERROR_IS_FATAL ANY)
