// A small checkpoint of tests/data copied to where a test may damage it.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tests/temporary_folder.h"

namespace l2a::test {

inline std::filesystem::path checkpoint(std::string_view name) {
  return std::filesystem::path(L2A_TEST_DATA) / "checkpoints" / name / "model";
}

class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::string_view name) {
    std::filesystem::copy(checkpoint(name), path(), std::filesystem::copy_options::recursive);
    for (const auto& entry : std::filesystem::directory_iterator(path())) {
      std::filesystem::permissions(entry, std::filesystem::perms::owner_write,
                                   std::filesystem::perm_options::add);
    }
  }

  const std::filesystem::path& path() const { return folder_.path(); }
  const TemporaryFolder& folder() const { return folder_; }

  // Applies `edit` to a JSON file of the folder.
  template <class Edit>
  void edit_json(std::string_view file, Edit edit) const {
    auto json = nlohmann::json::parse(read_file(folder_ / file));
    edit(json);
    folder_.write(file, json.dump());
  }

  // Overwrites the first float of a tensor of model.safetensors, which holds F32.
  void set_first_value(const std::string& tensor, float value) const {
    std::string bytes = read_file(folder_ / "model.safetensors");
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    const auto parsed = nlohmann::json::parse(bytes.substr(8, header));
    std::memcpy(bytes.data() + 8 + header + parsed[tensor]["data_offsets"][0].get<std::size_t>(),
                &value, sizeof value);
    folder_.write("model.safetensors", bytes);
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace l2a::test
