// SPDX-License-Identifier: MIT
// The last complete file of a snapshotter, on which its next one may be based.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tracking/opened_snapshot.hpp"
#include "tracking/snapshot_format.hpp"

namespace uffd::detail {

class snapshot_base {
 public:
  // Throws as snapshot_file::open() does, but does not look at the index.
  explicit snapshot_base(const std::filesystem::path& file);

  const snapshot_header& header() const noexcept { return front_.header; }
  // Without its folder.
  const std::string& name() const noexcept { return name_; }

  // Whether whoever restores a snapshot called `path` would find it, unchanged: in the same folder,
  // by a name that has room in a header. If it was renamed there, that is its name from now on.
  bool is_beside(const std::filesystem::path& path);

 private:
  bool is_in(const std::filesystem::path& place, const std::string& name) const;

  snapshot_front front_;  // open: nobody else gets its inode
  std::string name_;
  struct stat status_ {};
};

}  // namespace uffd::detail
