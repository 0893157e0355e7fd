// SPDX-License-Identifier: MIT
// Wrong: no place in the list.
#pragma once
