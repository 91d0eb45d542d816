// What the programs that run a model have in common: its options, and opening file, backend and tokenizer.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "examples/common/devices.h"
#include "graph/backend.h"
#include "models/gguf.h"
#include "models/model.h"
#include "models/tokenizer.h"

namespace l2a {

struct ModelOptions {
  std::string path;
  BackendOptions backend;
  int threads = 0;
  std::string type_kv;                     // dtype of the KV caches; the program sets its default
  bool verify = false;                     // the checksums of the tensors, before they are used
  std::optional<std::int64_t> gpu_layers;  // the last of the layers that `backend` holds; none: all
};

// Adds MODEL, a GGUF file.
void add_model_path(CLI::App& app, std::string& path);
// Adds MODEL, --backend, --device, --list-devices, --threads, --gpu-layers, --type-kv and --verify.
void add_model_options(CLI::App& app, ModelOptions& options);

// Adds --route-stats, a file to write (convert/route_stats.h).
void add_route_stats_option(CLI::App& app, std::string& target);
// Throws Error, which names --route-stats, for a model without routers.
void require_router(const ModelConfig& config, const std::string& path);

struct OpenModel {
  std::shared_ptr<const GgufFile> file;
  std::shared_ptr<Backend> backend;
  std::vector<std::shared_ptr<Backend>> fallbacks;  // for a Session
  std::shared_ptr<const Model> model;
  Dtype cache_dtype;
};
OpenModel open_model(const ModelOptions& options);

// Throws FileError, which for a file without a tokenizer says what takes token ids.
Tokenizer open_tokenizer(const GgufFile& file);

}  // namespace l2a
