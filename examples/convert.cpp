// l2a-convert: a Hugging Face checkpoint folder or a GGUF file becomes a GGUF file: quantized, made an
// L2A model, pruned. Or it becomes such a folder again.
#include "convert/convert.h"

#include <filesystem>
#include <iomanip>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "convert/construct.h"
#include "convert/hf_writer.h"
#include "convert/imatrix.h"
#include "convert/route_stats.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/progress.h"
#include "models/kv_cache.h"

namespace {

constexpr const char* kProgram = "l2a-convert";

constexpr const char* kDescription =
    "Makes a GGUF file of a Hugging Face checkpoint (Qwen2.5, Qwen3, Llama, and their L2A forms) "
    "or of\n"
    "another GGUF file. SOURCE is a .gguf file, or a folder with config.json, model.safetensors "
    "(or its\n"
    "shards and index), and for text tokenizer.json and tokenizer_config.json. Dense files load in "
    "other\n"
    "GGUF programs too; L2A files load in l2a. --to-hf writes such a folder instead.";

constexpr const char* kExamples =
    "Types: f32 keeps every bit; bf16 keeps bf16 checkpoints exactly; f16 (default) is read "
    "fastest by\n"
    "most programs; q8_0 halves f16 at nearly the same quality; q4_k_m halves that again and is "
    "what\n"
    "most people run. Norms, biases and routers are always f32.\n\n"
    "Examples:\n"
    "  l2a-convert Qwen3-0.6B -o qwen3-0.6b-q4_k_m.gguf --type q4_k_m\n"
    "  l2a-convert qwen3-0.6b-f16.gguf -o qwen3-0.6b-q8_0.gguf --type q8_0\n"
    "  l2a-convert Qwen3-0.6B -o l2a.gguf --type bf16 --l2a --window 4095\n"
    "  l2a-convert Qwen3-0.6B -o widen.gguf --l2a --l2a-mode widen --window 1024 --sinks 4\n"
    "  l2a-convert l2a.gguf -o pruned.gguf --type bf16 --prune 1,3\n"
    "  l2a-convert l2a.gguf -o pruned.gguf --type bf16 --prune-below 0.02 --stats routes.json\n"
    "  l2a-convert f16.gguf -o small.gguf --type q4_k_m --imatrix imatrix.gguf\n"
    "  l2a-convert tuned.gguf --to-hf Tuned\n\n"
    "The output appears under its name only when it is complete.\n"
    "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 130 interrupted.";

struct Options {
  std::string source, target, folder;
  std::string type;  // empty: f16 in a GGUF file, the source's in a folder
  int threads = 0;
  bool allow_nan = false, quiet = false;
  bool l2a = false;
  std::string mode = "add";
  std::string global_output = "copy";
  l2a::L2aConstruction construction;
  std::vector<std::int64_t> prune;
  std::optional<double> prune_below;
  std::string stats, imatrix;
  std::optional<double> rope_base;
  std::optional<std::int64_t> context;
};

// What pruning saves is what the caches will not hold.
void show_saving(const l2a::ModelConfig& before, const l2a::ModelConfig& after) {
  for (const std::int64_t positions : {32768, 131072}) {
    const auto total = [&](const l2a::ModelConfig& config) {
      return static_cast<double>(l2a::cache_bytes(config, l2a::Dtype::f16, positions).total());
    };
    std::cerr << l2a::concat("KV cache at ", positions / 1024,
                             "K tokens (f16): ", l2a::bytes_text(total(after)), ", ",
                             l2a::bytes_text(total(before) - total(after)), " less\n");
  }
}

// The layers to prune for having routed less than was asked for; says which. Throws Error when there are none.
std::vector<std::int64_t> rarely_routed(const l2a::ModelConfig& config, const Options& options) {
  if (!config.l2a) {
    throw l2a::Error(
        l2a::concat(options.source, ": is a dense model; only L2A layers can be pruned"));
  }
  const l2a::RoutingStats stats = l2a::read_route_stats(options.stats, config);
  const auto percent = [&](std::int64_t layer) {
    const double share = static_cast<double>(stats.routed[static_cast<std::size_t>(layer)]) /
                         static_cast<double>(stats.tokens);
    return l2a::concat(std::fixed, std::setprecision(2), 100 * share, "%");
  };
  std::vector<std::int64_t> layers = l2a::layers_below(stats, *options.prune_below);
  if (layers.empty()) {
    throw l2a::Error(l2a::concat(options.stats, ": no layer routed less than ",
                                 *options.prune_below, " of ", stats.tokens, " tokens"));
  }
  if (!options.quiet) {
    std::string list;
    for (const std::int64_t layer : layers)
      list += l2a::concat(list.empty() ? "" : ", ", layer, " (", percent(layer), ")");
    std::cerr << l2a::concat("pruned, with the share of ", stats.tokens,
                             " tokens they routed: ", list, "\n");
  }
  return layers;
}

void transform(l2a::Checkpoint& checkpoint, const Options& options) {
  if (options.rope_base) l2a::set_rope_base(checkpoint, *options.rope_base);
  if (options.context) l2a::set_context(checkpoint, *options.context);
  if (options.l2a) {
    l2a::L2aConstruction construction = options.construction;
    construction.mode = options.mode == "add" ? l2a::L2aMode::add : l2a::L2aMode::widen;
    construction.zero_global_output = options.global_output == "zero";
    l2a::make_l2a(checkpoint, construction);
  }
  if (!options.prune.empty() || options.prune_below) {
    const l2a::ModelConfig before = checkpoint.config;
    l2a::prune_layers(checkpoint,
                      options.prune_below ? rarely_routed(before, options) : options.prune);
    if (!options.quiet) show_saving(before, checkpoint.config);
  }
}

l2a::ConvertResult write(l2a::Checkpoint& checkpoint, const Options& options,
                         l2a::Progress& progress) {
  const auto set_up = [&](l2a::StreamOptions& stream) {
    stream.threads = options.threads;
    stream.allow_nan = options.allow_nan;
    stream.progress = [&](std::uint64_t done, std::uint64_t total, std::string_view tensor) {
      progress.update(done, total, tensor);
    };
  };
  if (!options.folder.empty()) {
    l2a::HfWriteOptions folder;
    set_up(folder);
    folder.folder = options.folder;
    folder.type = l2a::dtype_from_name(options.type);
    return l2a::write_hf(checkpoint, folder);
  }
  l2a::WriteOptions file;
  set_up(file);
  file.target = options.target;
  file.recipe = l2a::find_recipe(options.type.empty() ? "f16" : options.type);
  l2a::Importance importance;
  if (!options.imatrix.empty()) {
    importance = l2a::read_imatrix(options.imatrix);
    checkpoint.inputs.emplace_back(options.imatrix);  // which the output may not be
    file.importance = &importance;
  }
  return l2a::write_gguf(checkpoint, file);
}

int convert(const Options& options) {
  l2a::clean_up_on_signals();
  l2a::Progress progress(!options.quiet);
  l2a::Checkpoint checkpoint = l2a::open_checkpoint(options.source);
  if (!options.stats.empty()) checkpoint.inputs.emplace_back(options.stats);
  transform(checkpoint, options);
  const l2a::ConvertResult result = write(checkpoint, options, progress);
  progress.clear();
  for (const std::string& warning : result.warnings) {
    l2a::print_error(kProgram, "warning: " + warning);
  }
  if (!options.quiet) {
    std::cerr << l2a::concat(options.target + options.folder, ": ", result.architecture, ", ",
                             result.tensors, " tensors, ",
                             l2a::bytes_text(static_cast<double>(result.file_bytes)), ", ",
                             l2a::seconds_text(progress.seconds()), "\n");
  }
  return 0;
}

// What options mean together: a wrong usage too.
// What is wrong with the options together; empty when nothing is.
std::string conflict(const Options& options) {
  if (options.target.empty() && options.folder.empty())
    return "--output FILE or --to-hf DIR is required";
  const auto& type = options.type;
  const bool plain = type.empty() || type == "f32" || type == "f16" || type == "bf16";
  if (!options.folder.empty() && !plain)
    return l2a::concat("--type: '", type, "' is not a type of --to-hf: f32, f16 and bf16 are");
  return {};
}

// CLI::Range lets NaN pass.
std::string share_error(const std::string& text) {
  double value = 0;
  return CLI::detail::lexical_cast(text, value) && value > 0 && value <= 1
             ? std::string()
             : l2a::concat("'", text, "' is not a share above 0, to 1");
}

void add_l2a_options(CLI::App& app, Options& options) {
  l2a::L2aConstruction& construction = options.construction;
  auto* l2a =
      app.add_flag("--l2a", options.l2a,
                   "Make a dense model an L2A one; its router is zero, so every token routes");
  app.add_option(
         "--l2a-mode", options.mode,
         "add: the paper's second, global attention; widen: one attention that routed tokens widen")
      ->check(CLI::IsMember({"add", "widen"}))
      ->needs(l2a)
      ->option_text("add|widen [add]");
  app.add_option("--window", construction.window, "Keys that every token sees, its own included")
      ->needs(l2a)
      ->option_text("W [4095]");
  app.add_option("--sinks", construction.sinks, "First positions that every token sees; widen only")
      ->needs(l2a)
      ->option_text("S [0]");
  app.add_option("--temperature", construction.temperature, "Of the router")
      ->needs(l2a)
      ->option_text("T [0.1]");
  app.add_option("--threshold", construction.threshold, "Of the router, between 0 and 1")
      ->needs(l2a)
      ->option_text("T [0.5]");
  app.add_option(
         "--global-output", options.global_output,
         "Output projection of the global branch: the local one's, or zero, which keeps the dense\n"
         "model's function below the window")
      ->check(CLI::IsMember({"copy", "zero"}))
      ->needs(l2a)
      ->option_text("copy|zero [copy]");
  auto* prune = app.add_option("--prune", options.prune,
                               "Layers of an L2A model to take router and global branch from")
                    ->delimiter(',')
                    ->option_text("LAYER,...");
  auto* below = app.add_option("--prune-below", options.prune_below,
                               "The layers that routed less than this share of tokens, by --stats")
                    ->check(CLI::Validator(share_error, ""))
                    ->excludes(prune)
                    ->option_text("SHARE");
  auto* stats = app.add_option("--stats", options.stats,
                               "What --route-stats of l2a-run or l2a-perplexity wrote")
                    ->check(l2a::not_empty())
                    ->needs(below)
                    ->option_text("F.json");
  below->needs(stats);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        app.add_option("SOURCE", options.source, "Folder of a checkpoint, or GGUF file")
            ->required()
            ->check(l2a::not_empty())
            ->option_text("FOLDER|FILE.gguf");
        auto* output = app.add_option("-o,--output", options.target,
                                      "GGUF file to write; replaced when it exists")
                           ->check(l2a::not_empty())
                           ->option_text("FILE.gguf");
        auto* folder =
            app.add_option("--to-hf", options.folder,
                           "Folder to write instead, for Hugging Face; must be new or empty")
                ->check(l2a::not_empty())
                ->excludes(output)
                ->option_text("DIR");
        app.add_option("--type", options.type,
                       l2a::concat("Types of the matrices: ", l2a::recipe_names()))
            ->check(CLI::Validator(
                [](std::string& name) {
                  if (l2a::find_recipe(name) != nullptr) return std::string();
                  return l2a::concat("'", name, "' is none of ", l2a::recipe_names());
                },
                ""))
            ->option_text("TYPE [f16; with --to-hf the source's, bf16 for quantized ones]");
        app.add_option(
               "--imatrix", options.imatrix,
               "What l2a-perplexity --imatrix wrote: which columns of each matrix matter. For\n"
               "q4_0 to q6_k; llama.cpp's files (GGUF) serve too")
            ->check(l2a::not_empty())
            ->excludes(folder)
            ->option_text("FILE.gguf");
        app.add_option("-t,--threads", options.threads,
                       "CPU threads; 0: as many as this process may use")
            ->check(CLI::Range(0, 1024))
            ->option_text("N [0]");
        add_l2a_options(app, options);
        app.add_option("--rope-theta", options.rope_base, "Another RoPE base")->option_text("X");
        app.add_option("--context", options.context, "Another trained context, in tokens")
            ->option_text("N");
        app.add_flag("--allow-nan", options.allow_nan,
                     "Pass NaN and infinities on instead of refusing them");
        app.add_flag("-q,--quiet", options.quiet,
                     "No progress and no summary; warnings and errors only");
        l2a::refuse_conflicts(app, [&] { return conflict(options); });
      },
      [&] { return convert(options); });
}
