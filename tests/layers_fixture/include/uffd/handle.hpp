// SPDX-License-Identifier: MIT
// Wrong: a public header that includes a private one.
#pragma once
#include <uffd/flags.hpp>

#include "engine.hpp"
