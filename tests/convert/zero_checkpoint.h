// A Hugging Face checkpoint of any size whose weights are all zero: holes in a file, so it takes no room.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "convert/hf_config.h"
#include "convert/tensor_plan.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

inline void write_zero_checkpoint(const TemporaryFolder& model, std::string_view config) {
  model.write("config.json", config);
  nlohmann::json header;
  std::uint64_t offset = 0;
  for (const PlannedTensor& planned : plan_tensors(HfConfig::read(model.path()))) {
    std::uint64_t bytes = sizeof(float);
    for (const std::int64_t extent : planned.shape) bytes *= static_cast<std::uint64_t>(extent);
    header[planned.source] = {
        {"dtype", "F32"}, {"shape", planned.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  const auto path =
      model.write("model.safetensors",
                  std::string(reinterpret_cast<const char*>(&length), sizeof length) + text);
  std::filesystem::resize_file(path, sizeof length + length + offset);
}

}  // namespace l2a::test
