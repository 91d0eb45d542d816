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
#include "models/session.h"
#include "models/tokenizer.h"

namespace l2a {

struct ModelOptions {
  std::string path;
  BackendOptions backend;
  int threads = 0;
  std::string type_kv;  // dtype of the KV caches; the program sets its default
  bool verify = false;  // the checksums of the tensors, before they are used
  std::optional<std::int64_t>
      gpu_layers;  // the last of the layers that `backend` holds; none: all that fit
  std::optional<std::uint64_t> device_memory;  // bytes to plan for; none: what is free

  Dtype cache_dtype() const { return dtype_from_name(type_kv).value(); }
};

// Of KV caches, as --type-kv takes them.
std::vector<std::string> cache_type_names();

// Adds MODEL, a GGUF file.
void add_model_path(CLI::App& app, std::string& path);
// Adds --gpu-layers and --device-memory.
void add_placement_options(CLI::App& app, ModelOptions& options);
// Adds MODEL, --backend, --device, --cpu, --list-devices, --threads, --type-kv, --verify and those of placement.
void add_model_options(CLI::App& app, ModelOptions& options);

// Adds --route-stats, a file to write (convert/route_stats.h).
void add_route_stats_option(CLI::App& app, std::string& target);
// Throws Error, which names the option, for a model without routers.
void require_router(const ModelConfig& config, const std::string& path, const char* option);

// The file; with --verify, its tensors are checked first.
std::shared_ptr<const GgufFile> open_file(const ModelOptions& options);

// A model where it was placed, and the backend that its plans take first.
struct PlacedModel {
  std::shared_ptr<Backend> backend;
  std::vector<std::shared_ptr<Backend>> fallbacks;  // for a Session
  std::shared_ptr<const Model> model;
};
// Brings the weights to `backend`: all of them, or as many layers as --gpu-layers says, or as many as its memory takes
// beside the caches of as many sequences with these options and steps for these logits; the CPU has the rest, and standard
// error is told.
PlacedModel place_model(const ModelOptions& options, const std::shared_ptr<const GgufFile>& file,
                        const SessionOptions& session, LogitsOf logits,
                        std::shared_ptr<Backend> backend, std::int64_t sequences = 1);

// A session on the backend that the options name. Where that is "auto" and its device fails, as when another program
// has taken its memory, a session on the CPU, and standard error is told.
std::unique_ptr<Session> open_session(const ModelOptions& options,
                                      const std::shared_ptr<const GgufFile>& file,
                                      const SessionOptions& session,
                                      LogitsOf logits = LogitsOf::last);

// Throws FileError, which for a file without a tokenizer says what takes token ids.
Tokenizer open_tokenizer(const GgufFile& file);

}  // namespace l2a
