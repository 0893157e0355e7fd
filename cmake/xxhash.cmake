# SPDX-License-Identifier: MIT
# xxHash's header, which src/ includes for checksums (XXH_INLINE_ALL): needed to build the library,
# not to use it.
find_path(UFFDPP_XXHASH_INCLUDE_DIR xxhash.h DOC "Where xxhash.h (0.8.0 or newer) is")
mark_as_advanced(UFFDPP_XXHASH_INCLUDE_DIR)
if(NOT UFFDPP_XXHASH_INCLUDE_DIR)
  message(FATAL_ERROR "uffd needs xxhash.h to be built. Install libxxhash-dev (Debian, Ubuntu) or "
    "xxhash-devel (Fedora), or say where it is: -DUFFDPP_XXHASH_INCLUDE_DIR=<folder>")
endif()
