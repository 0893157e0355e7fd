// SPDX-License-Identifier: MIT
/// \file
/// The library's version, the one place it is written: CMake reads it from here.
#pragma once

#define UFFDPP_VERSION_MAJOR 0
#define UFFDPP_VERSION_MINOR 1
#define UFFDPP_VERSION_PATCH 0
