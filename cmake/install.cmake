# SPDX-License-Identifier: MIT
# The CMake package (also usable from the build tree: -Duffd_DIR=<build>) and the pkg-config file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/uffd)

install(TARGETS uffd uffd_headers EXPORT uffd-targets FILE_SET HEADERS)
install(EXPORT uffd-targets NAMESPACE uffd:: DESTINATION ${package_dir})
export(EXPORT uffd-targets NAMESPACE uffd:: FILE ${PROJECT_BINARY_DIR}/uffd-targets.cmake)

configure_file(cmake/uffd-config.cmake.in uffd-config.cmake COPYONLY)
# While the version is 0.x a new minor version may change the interface.
write_basic_package_version_file(uffd-config-version.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/uffd-config.cmake ${PROJECT_BINARY_DIR}/uffd-config-version.cmake
  DESTINATION ${package_dir})

# Relative to the file itself, so that the installed tree can be moved.
file(RELATIVE_PATH pc_prefix
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix ${pc_prefix})
cmake_path(APPEND pc_libdir "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
cmake_path(APPEND pc_includedir "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
configure_file(cmake/uffd.pc.in uffd.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/uffd.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
