// l2a-inspect: what a GGUF file holds, and what running it will take.
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "models/gguf.h"
#include "models/kv_cache.h"
#include "models/model_config.h"
#include "models/verify.h"
#include "ops/route.h"

namespace {

using l2a::bytes_text;
using l2a::concat;
using l2a::ModelConfig;

constexpr const char* kProgram = "l2a-inspect";

constexpr const char* kDescription =
    "Shows a model file: its architecture, what its weights take by type, what its KV caches will\n"
    "take, and its L2A settings.";

constexpr const char* kExamples =
    "Examples:\n"
    "  l2a-inspect model.gguf\n"
    "  l2a-inspect model.gguf --tensors | grep router\n"
    "  l2a-inspect model.gguf --verify && echo intact\n\n"
    "Exit codes: 0 done, 1 failed or damaged, 2 wrong usage.";

void line(const char* label, const std::string& text) {
  std::cout << std::left << std::setw(16) << label << std::right << text << "\n";
}

std::string count_text(double count) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(count < 1e9 ? 1 : 2);
  out << (count < 1e9 ? count / 1e6 : count / 1e9) << (count < 1e9 ? " M" : " B");
  return out.str();
}

void show_architecture(const l2a::GgufFile& file, const ModelConfig& config) {
  line("file", concat(l2a::printable(file.path().string()), " (",
                      bytes_text(static_cast<double>(file.file_bytes())), ")"));
  if (!config.name.empty()) line("name", l2a::printable(config.name));
  line("architecture", config.architecture);
  line("layers", concat(config.layers, " of width ", config.hidden, ", MLP ", config.feed_forward));
  line("heads", concat(config.heads, " for queries, ", config.kv_heads, " for keys, of size ",
                       config.head_dim));
  line("vocabulary",
       concat(config.vocabulary,
              file.find_tensor("output.weight") != nullptr ? "" : ", tied embeddings"));
  std::string rope = concat("base ", config.rope_base);
  const l2a::RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == l2a::RopeScaling::Kind::linear) rope += concat(", linear x ", scaling.factor);
  if (scaling.kind == l2a::RopeScaling::Kind::yarn) {
    rope += concat(", YaRN x ", scaling.factor, " from ", scaling.original_context);
  }
  line("context", concat(config.context, " tokens, RoPE ", rope));
}

void show_weights(const l2a::GgufFile& file) {
  struct Sum {
    std::size_t tensors = 0;
    double values = 0, bytes = 0;
  };
  std::map<l2a::Dtype, Sum> by_type;
  Sum all;
  for (const l2a::GgufTensor& tensor : file.tensors()) {
    for (Sum* sum : {&by_type[tensor.dtype], &all}) {
      ++sum->tensors;
      sum->values += static_cast<double>(l2a::Shape(tensor.shape).elements());
      sum->bytes += static_cast<double>(tensor.data.size());
    }
  }
  std::cout << "\nweights   tensors    values        bytes\n";
  auto row = [](std::string_view name, const Sum& sum) {
    std::cout << std::left << std::setw(8) << name << std::right << std::setw(9) << sum.tensors
              << std::setw(10) << count_text(sum.values) << std::setw(13) << bytes_text(sum.bytes)
              << "\n";
  };
  for (const auto& [dtype, sum] : by_type) row(l2a::dtype_name(dtype), sum);
  row("all", all);
}

void show_caches(const ModelConfig& config) {
  std::cout << "\nKV cache (f16)     local       global        total\n";
  for (const std::int64_t positions : {4096, 32768, 131072}) {
    const l2a::CacheBytes bytes = l2a::cache_bytes(config, l2a::Dtype::f16, positions);
    auto column = [](std::uint64_t value) { return bytes_text(static_cast<double>(value)); };
    std::cout << std::setw(6) << positions / 1024 << "K tokens" << std::setw(12)
              << column(bytes.local) << std::setw(13) << column(bytes.global) << std::setw(13)
              << column(bytes.total()) << "\n";
  }
}

void show_l2a(const l2a::L2aConfig& l2a) {
  const bool add = l2a.mode == l2a::L2aMode::add;
  std::cout << "\n";
  line("L2A mode", add ? "add (global attention added for routed tokens)"
                       : "widen (routed tokens see all keys)");
  line("window", concat(l2a.window, " tokens", add ? "" : concat(" and ", l2a.sinks, " sinks")));
  line("router",
       concat("temperature ", l2a.temperature, ", threshold ", l2a.threshold, ": logits from ",
              l2a::router_cut(l2a.temperature, l2a.threshold), " are routed"));
  std::string pruned;
  for (std::size_t layer = 0; layer < l2a.global_layers.size(); ++layer) {
    if (!l2a.global_layers[layer]) pruned += concat(pruned.empty() ? "" : ", ", layer);
  }
  line("pruned layers", pruned.empty() ? "none" : pruned);
}

void show_tensors(const l2a::GgufFile& file) {
  for (const l2a::GgufTensor& tensor : file.tensors()) {
    std::cout << l2a::printable(tensor.name) << "\t" << tensor.dtype << "\t"
              << l2a::Shape(tensor.shape) << "\t" << tensor.data.size() << "\n";
  }
}

// The exit code: 1 when a tensor is not what was written.
int verify(const l2a::GgufFile& file) {
  std::vector<std::string> damaged;
  {
    l2a::Progress progress(true);
    damaged = l2a::damaged_tensors(
        file, 0, [&](std::uint64_t done, std::uint64_t total, std::string_view tensor) {
          progress.update(done, total, tensor);
        });
  }
  for (const std::string& name : damaged) {
    std::cout << l2a::printable(name) << "\tdiffers from its checksum\n";
  }
  const std::string path = file.path().string();
  if (damaged.empty()) {
    std::cout << concat(l2a::printable(path), ": ok, ", file.tensors().size(), " tensors\n");
    return 0;
  }
  l2a::print_error(kProgram, concat(path, ": damaged: ", damaged.size(), " of ",
                                    file.tensors().size(), " tensors differ"));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  bool tensors = false, check = false;
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        l2a::add_model_path(app, path);
        auto* list = app.add_flag(
            "--tensors", tensors,
            "List every tensor instead: name, type, shape, bytes; works for any architecture");
        app.add_flag("--verify", check,
                     "Check every tensor against the checksum that the file has for it instead")
            ->excludes(list);
      },
      [&] {
        const auto file = l2a::GgufFile::open(path);
        int result = 0;
        if (check) {
          result = verify(*file);
        } else if (tensors) {
          show_tensors(*file);
        } else {
          const ModelConfig config = ModelConfig::from_gguf(*file);
          show_architecture(*file, config);
          show_weights(*file);
          show_caches(config);
          if (config.l2a) show_l2a(*config.l2a);
        }
        l2a::print("");
        return result;
      });
}
