// SPDX-License-Identifier: MIT
// Wrong: fmt outside format.hpp.
#pragma once
#include <fmt/core.h>
