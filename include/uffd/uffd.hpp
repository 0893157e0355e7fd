// SPDX-License-Identifier: MIT
/// \file
/// All of the library but format.hpp, which needs fmt.
#pragma once

#include "uffd/callbacks.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/error.hpp"
#include "uffd/fault.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/fault_loop.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/handler_statistics.hpp"
#include "uffd/latency_histogram.hpp"
#include "uffd/mapping.hpp"
#include "uffd/message.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/range_table.hpp"
#include "uffd/region.hpp"
#include "uffd/region_info.hpp"
#include "uffd/resolve.hpp"
#include "uffd/served_region.hpp"
#include "uffd/support.hpp"
#include "uffd/unique_fd.hpp"
#include "uffd/version.hpp"
