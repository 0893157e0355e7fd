// SPDX-License-Identifier: MIT
#pragma once
#include <uffd/handle.hpp>
