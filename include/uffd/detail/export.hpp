// SPDX-License-Identifier: MIT
// What a shared library shows of what is compiled; all else is hidden.
#pragma once

#define UFFDPP_EXPORT [[gnu::visibility("default")]]
