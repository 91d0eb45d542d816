#include "examples/common/open_model.h"

#include <algorithm>
#include <set>

#include "examples/common/main_wrapper.h"
#include "examples/common/progress.h"
#include "graph/error.h"
#include "models/memory_need.h"
#include "models/verify.h"
#include "ops/kv_append.h"

namespace l2a {

std::vector<std::string> cache_type_names() {
  std::vector<std::string> names;
  for (int i = 0; i < kDtypeCount; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    if (is_cache_dtype(dtype)) names.emplace_back(dtype_info(dtype).name);
  }
  return names;
}

void add_model_path(CLI::App& app, std::string& path) {
  app.add_option("MODEL", path, "GGUF file, as l2a-convert writes")
      ->required()
      ->check(not_empty())
      ->option_text("FILE.gguf");
}

void add_placement_options(CLI::App& app, ModelOptions& options) {
  app.add_option("--gpu-layers,--n-gpu-layers", options.gpu_layers,
                 "Only the last N layers on the backend, the others on the CPU;\n"
                 "more than there are: everything. By default what fits")
      ->check(CLI::Range(0, 1 << 20))
      ->option_text("N");
  app.add_option("--device-memory", options.device_memory,
                 "Fill this much of the device's memory, as 6g or 500m; by\n"
                 "default what is free")
      ->transform(CLI::AsSizeValue(false))
      ->option_text("SIZE");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  add_model_path(app, options.path);
  add_backend_options(app, options.backend);
  app.add_option("-t,--threads", options.threads, "CPU threads; 0: as many as this process may use")
      ->check(CLI::Range(0, 1024))
      ->option_text("N [0]");
  add_placement_options(app, options);
  app.add_option("--type-kv", options.type_kv, "Type of the KV caches")
      ->check(CLI::IsMember(cache_type_names()))
      ->option_text(concat(CLI::detail::join(cache_type_names(), "|"), " [", options.type_kv, "]"));
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

void require_router(const ModelConfig& config, const std::string& path, const char* option) {
  if (!config.l2a || config.l2a->routed_layers() == 0)
    throw Error(concat(option, ": ", path, " has no layer with a router"));
}

std::shared_ptr<const GgufFile> open_file(const ModelOptions& options) {
  auto file = GgufFile::open(options.path);
  if (options.verify) {
    Progress progress(true);
    require_intact(*file, options.threads,
                   [&](std::uint64_t done, std::uint64_t total, std::string_view tensor) {
                     progress.update(done, total, tensor);
                   });
  }
  return file;
}

namespace {

// What may be planned for: allocations are rounded up, and programs beside this one take some too.
std::optional<MemoryRoom> room_of(const ModelOptions& options, const Backend& backend) {
  std::optional<MemoryRoom> room = backend.room();
  if (room) room->bytes -= room->bytes / 32;
  if (options.device_memory) {
    if (!room) room = MemoryRoom{*options.device_memory, *options.device_memory};
    room->bytes = std::min(room->bytes, *options.device_memory);
  }
  return room;
}

// How many layers go to the device, one more than there are for the whole model.
std::int64_t layers_on_device(const ModelOptions& options, const GgufFile& file,
                              const SessionOptions& session, LogitsOf logits,
                              const Backend& backend, std::int64_t sequences) {
  const ModelConfig config = ModelConfig::from_gguf(file);
  const std::int64_t everything = config.layers + 1;
  if (options.gpu_layers) return *options.gpu_layers;
  const std::optional<MemoryRoom> room = room_of(options, backend);
  if (!room) return everything;
  const MemoryNeed need = memory_need(file, config, session, logits, sequences);
  const std::int64_t fit = layers_that_fit(need, *room);
  if (fit < everything) {
    const auto size = [](std::uint64_t bytes) { return bytes_text(static_cast<double>(bytes)); };
    const std::string why =
        need.total() > room->bytes
            ? concat("the model takes ", size(need.total()), " with its caches, and ",
                     backend.name(), " has ", size(room->bytes))
            : concat("the model has tensors or caches of ",
                     size(std::max(need.outer_buffer, need.layer_buffer)), ", and a buffer of ",
                     backend.name(), " holds ", size(room->allocation));
    print_error("note", concat(why, ": ", fit, " of ", config.layers,
                               " layers run there, the rest on the CPU"));
  }
  return fit;
}

// Ops that the device lacks for this model are slow there: all they read comes to the CPU and what they compute goes
// back.
void announce_fallbacks(Session& session) {
  const Plan& plan = session.plan(1, LogitsOf::last);
  std::set<std::string_view> ops;
  for (const NodeId id : plan.schedule().fallbacks) ops.insert(plan.graph().node(id).op->name());
  for (const std::string_view op : ops) {
    print_error("note", concat(session.backend().name(), " does not support this model's ", op,
                               ", which runs on the CPU"));
  }
}

}  // namespace

PlacedModel place_model(const ModelOptions& options, const std::shared_ptr<const GgufFile>& file,
                        const SessionOptions& session, LogitsOf logits,
                        std::shared_ptr<Backend> backend, std::int64_t sequences) {
  if (backend->name() == "cpu") {
    if (options.gpu_layers)
      throw Error("--gpu-layers: this is the CPU's backend already; choose another with --backend");
    return {backend, {}, Model::load(file, backend)};
  }
  const auto host = make_cpu_fallback(options.backend, options.threads);
  const std::int64_t count = layers_on_device(options, *file, session, logits, *backend, sequences);
  auto model =
      Model::load(file, split_layers(ModelConfig::from_gguf(*file).layers, count, backend, host));
  return {std::move(backend), {host}, std::move(model)};
}

std::unique_ptr<Session> open_session(const ModelOptions& options,
                                      const std::shared_ptr<const GgufFile>& file,
                                      const SessionOptions& session, LogitsOf logits) {
  const auto open_on = [&](std::shared_ptr<Backend> backend) {
    PlacedModel placed = place_model(options, file, session, logits, std::move(backend));
    auto opened =
        std::make_unique<Session>(placed.model, placed.backend, placed.fallbacks, session);
    if (!placed.fallbacks.empty()) announce_fallbacks(*opened);
    return opened;
  };
  auto backend = make_backend(options.backend, options.threads);
  const bool on_cpu = backend->name() == "cpu";
  try {
    return open_on(std::move(backend));
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {  // of the device: its memory was taken meanwhile, or it is gone
    if (on_cpu) throw;
    if (options.gpu_layers) {
      throw Error(concat(error.what(), "; without --gpu-layers as many layers as fit go to ",
                         options.backend.name == "auto" ? "the device" : options.backend.name));
    }
    if (options.backend.name != "auto") throw;
    print_error("note", concat(error.what(), "; running on the CPU instead"));
  }
  return open_on(make_cpu_fallback(options.backend, options.threads));
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
