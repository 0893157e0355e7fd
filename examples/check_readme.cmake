# SPDX-License-Identifier: MIT
# cmake -DREADME=... -DEXAMPLE=... -P check_readme.cmake: the README holds the example, word for word.
cmake_minimum_required(VERSION 3.24)

file(READ ${README} readme)
file(READ ${EXAMPLE} example)
string(FIND "${readme}" "\n```cpp\n${example}```\n" position)
if(position LESS 0)
  message(FATAL_ERROR "${README} does not show ${EXAMPLE} as it is")
endif()
