// SPDX-License-Identifier: MIT
// Unix sockets by path.
#pragma once

#include <uffd/unique_fd.hpp>

#include <chrono>
#include <string>

namespace examples {

// Throws std::system_error; so does what follows.
uffd::unique_fd listen_on(const std::string& path);

// Tries again while nobody listens there.
uffd::unique_fd connect_to(const std::string& path, std::chrono::milliseconds limit);

// A folder that is gone at its end, with what is in it.
class temporary_folder {
 public:
  temporary_folder();
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder();

  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace examples
