#include "examples/common/open_model.h"

#include "examples/common/main_wrapper.h"
#include "examples/common/progress.h"
#include "graph/error.h"
#include "models/verify.h"

namespace l2a {

void add_model_path(CLI::App& app, std::string& path) {
  app.add_option("MODEL", path, "GGUF file, as l2a-convert writes")
      ->required()
      ->check(not_empty())
      ->option_text("FILE.gguf");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  add_model_path(app, options.path);
  add_backend_options(app, options.backend);
  app.add_option("-t,--threads", options.threads, "CPU threads; 0: as many as this process may use")
      ->check(CLI::Range(0, 1024))
      ->option_text("N [0]");
  app.add_option("--gpu-layers,--n-gpu-layers", options.gpu_layers,
                 "Only the last N layers on the backend, the others on the CPU;\n"
                 "more than there are: everything. By default everything")
      ->check(CLI::Range(0, 1 << 20))
      ->option_text("N");
  app.add_option("--type-kv", options.type_kv, "Type of the KV caches")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0"}))
      ->option_text("f32|f16|bf16|q8_0 [" + options.type_kv + "]");
  app.add_flag("--verify", options.verify,
               "Check every tensor against its checksum first; reads the whole file");
}

void add_route_stats_option(CLI::App& app, std::string& target) {
  app.add_option("--route-stats", target,
                 "Write how often each layer of an L2A model routed, for\n"
                 "l2a-convert --prune-below")
      ->check(not_empty())
      ->option_text("F.json");
}

void require_router(const ModelConfig& config, const std::string& path) {
  if (!config.l2a || config.l2a->routed_layers() == 0)
    throw Error(concat("--route-stats: ", path, " has no layer with a router"));
}

OpenModel open_model(const ModelOptions& options) {
  OpenModel open;
  open.cache_dtype = dtype_from_name(options.type_kv).value();
  open.file = GgufFile::open(options.path);
  if (options.verify) {
    Progress progress(true);
    require_intact(*open.file, options.threads,
                   [&](std::uint64_t done, std::uint64_t total, std::string_view tensor) {
                     progress.update(done, total, tensor);
                   });
  }
  open.backend = make_backend(options.backend, options.threads);
  Placement placement{open.backend, {}};
  if (options.gpu_layers) {
    if (open.backend->name() == "cpu") {
      throw Error("--gpu-layers: this is the CPU's backend already; choose another with --backend");
    }
    open.fallbacks.push_back(make_backend({"cpu", -1}, options.threads));
    const std::int64_t layers = ModelConfig::from_gguf(*open.file).layers;
    placement = split_layers(layers, *options.gpu_layers, open.backend, open.fallbacks.front());
  }
  try {
    open.model = Model::load(open.file, std::move(placement));
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {  // of the device: it is too small, or is gone
    const bool asked_for = options.backend.name != "auto" || options.gpu_layers;
    if (asked_for || open.backend->name() == "cpu") throw;
    print_error("note", concat(error.what(), "; running on the CPU instead"));
    open.backend = make_backend({"cpu", -1}, options.threads);
    open.model = Model::load(open.file, open.backend);
  }
  return open;
}

Tokenizer open_tokenizer(const GgufFile& file) {
  if (!TokenizerData::present(file)) {
    throw FileError(concat(file.path().string(),
                           ": has no tokenizer, so it takes no text; l2a-logits takes token ids"));
  }
  TokenizerData data = TokenizerData::from_gguf(file);
  try {
    return Tokenizer(std::move(data));
  } catch (const Error& error) {  // of tokens and merges, which do not know their file
    throw FileError(concat(file.path().string(), ": ", error.what()));
  }
}

}  // namespace l2a
