// SPDX-License-Identifier: MIT
// A file that takes its place when it is finished.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "uffd/detail/process.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

enum class replacing { permitted, refused };

// A new file beside `target`, open to be written; gone at the end unless it took that one's place.
class new_file {
 public:
  // Throws std::system_error with open(2)'s errno; `what` begins its text.
  new_file(const std::filesystem::path& target, unsigned mode, const std::string& what);
  new_file(const new_file&) = delete;
  new_file& operator=(const new_file&) = delete;
  ~new_file();

  int fd() const noexcept { return opened_.get(); }

  // Gives it the target's name, in one step: EEXIST where another file has it that must not be
  // replaced. What it has was written by fsync(2) before.
  std::error_code take_its_place(replacing other) noexcept;
  // Sees to it that its name outlasts a crash. No error where the file system can't.
  std::error_code keep_its_place() const noexcept;
  // Takes it away again, from the target's name too.
  void remove() noexcept;

 private:
  std::filesystem::path target_;
  std::string path_;
  bool has_place_ = false;
  process_mark home_;
  unique_fd opened_;
  unique_fd folder_;
};

}  // namespace uffd::detail
