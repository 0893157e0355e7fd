# SPDX-License-Identifier: MIT
# Warnings for our own targets only: they never reach those who use the library.

set(UFFD_WARNINGS
  -Wall -Wextra -Wpedantic
  -Wshadow                # a name that hides another one
  -Wconversion -Wsign-conversion -Wdouble-promotion  # values that change silently
  -Wcast-qual -Wcast-align
  -Wformat=2
  -Wundef
  -Wunused
  -Wimplicit-fallthrough)
set(UFFD_CXX_WARNINGS
  -Wold-style-cast
  -Wnon-virtual-dtor -Woverloaded-virtual
  -Wextra-semi
  -Wredundant-decls)
set(UFFD_GNU_WARNINGS -Wduplicated-cond -Wduplicated-branches -Wlogical-op)

function(uffd_set_warnings target)
  target_compile_options(${target} PRIVATE
    ${UFFD_WARNINGS}
    "$<$<COMPILE_LANGUAGE:CXX>:${UFFD_CXX_WARNINGS}>"
    "$<$<CXX_COMPILER_ID:GNU>:${UFFD_GNU_WARNINGS}>"
    $<$<BOOL:${UFFDPP_WERROR}>:-Werror>)
endfunction()
