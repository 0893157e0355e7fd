// SPDX-License-Identifier: MIT
// What serve() accepts and refuses.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

class serve : public testing::Test {
 protected:
  // What serve() says about a range, and that the handler is as good as before.
  std::string refusal(page_range range, serve_options options = {}) {
    std::string said = test::complaint([&] { region_ = handler_.serve(range, options); });
    return said;
  }
  int refused(page_range range, serve_options options = {}) {
    return test::thrown([&] { region_ = handler_.serve(range, options); });
  }

  test::memory memory_{test::memory_kind::anonymous, 4};
  fault_handler handler_{test::fill_by_offset(), test::one_thread()};
  served_region region_;
};

TEST_F(serve, of_an_overlapping_range_is_EEXIST_and_names_it) {
  const auto first = handler_.serve(memory_.page(1, 2));
  EXPECT_EQ(refused(memory_.page(2, 2)), EEXIST);
  EXPECT_EQ(refused(memory_.page(0, 2)), EEXIST);
  EXPECT_EQ(refused(memory_.page(0, 4)), EEXIST);
  EXPECT_EQ(refused(memory_.page(1)), EEXIST);
  EXPECT_NE(refusal(memory_.page(2)).find(to_string(memory_.page(2))), std::string::npos);
  EXPECT_EQ(test::look(memory_.at(2)), test::shows(test::byte_of(1)));
}

TEST_F(serve, of_another_handles_range_is_EBUSY_and_leaves_it_free_to_be_served_later) {
  const auto other = handle::open();
  {
    const region owned(other, memory_.page(0));
    EXPECT_EQ(refused(memory_.page(0)), EBUSY);
    EXPECT_EQ(refused(memory_.page(0)), EBUSY) << "the first refusal left it in the table";
  }
  EXPECT_EQ(refused(memory_.page(1)), 0);
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(1));
}

TEST_F(serve, of_unaligned_empty_or_wrapping_ranges_is_EINVAL_and_says_why) {
  const auto begin = memory_.begin();
  EXPECT_EQ(refused({begin + 1, page_size()}), EINVAL);
  EXPECT_EQ(refused({begin, page_size() - 1}), EINVAL);
  EXPECT_EQ(refused({begin, 0}), EINVAL);
  EXPECT_EQ(refused({~std::uintptr_t{0} - page_size() + 1, 4 * page_size()}), EINVAL);
  EXPECT_NE(refusal({begin + 1, page_size()}).find("not aligned"), std::string::npos);
  EXPECT_NE(refusal({begin, 0}).find("empty"), std::string::npos);
}

TEST_F(serve, of_unmapped_memory_is_EINVAL_and_can_be_repeated) {
  // Nothing is ever mapped so low (vm.mmap_min_addr), while another thread may take what was freed.
  const page_range nothing(page_size(), page_size());
  EXPECT_EQ(refused(nothing), EINVAL);
  EXPECT_EQ(refused(nothing), EINVAL);
}

TEST_F(serve, with_a_page_size_that_is_none_is_EINVAL) {
  EXPECT_EQ(refused(memory_.range(), {.page_size = 3000}), EINVAL);
  EXPECT_EQ(refused(memory_.range(), {.page_size = page_size() / 2}), EINVAL);
}

TEST_F(serve, of_pages_larger_than_the_buffers_is_EINVAL_and_names_the_option) {
  fault_handler small(test::fill_by_offset(), {.threads = 1, .buffer_size = page_size()});
  const test::memory memory(test::memory_kind::anonymous, 4);
  // Aligned as far as anybody checks before the buffer is looked at.
  const auto begin = align_down(memory.begin(), 2 * page_size()) + 2 * page_size();
  const auto said = test::complaint([&] {
    region_ = small.serve(page_range(begin, 2 * page_size()),
                          serve_options{.page_size = 2 * page_size()});
  });
  EXPECT_NE(said.find("buffer_size"), std::string::npos) << said;
}

TEST_F(serve, by_callbacks_with_features_that_were_not_negotiated_is_EINVAL_and_names_them) {
  const auto said = test::complaint([&] {
    region_ = handler_.serve(
        memory_.range(),
        overloaded{[](fault& raised) { return raised.zeropage(); }, [](const remove_event&) {}});
  });
  EXPECT_NE(said.find("event_remove"), std::string::npos) << said;
}

TEST_F(serve, after_a_stop_is_ECANCELED) {
  handler_.request_stop();
  EXPECT_EQ(refused(memory_.range()), ECANCELED);
  handler_.join();
  EXPECT_EQ(refused(memory_.range()), ECANCELED);
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(0)) << "the memory was registered";
}

}  // namespace
}  // namespace uffd
