// SPDX-License-Identifier: MIT
// Wrong: an include of what stands below.
#pragma once
#include <uffd/handle.hpp>
#include <uffd/version.hpp>
