// l2a-convert: a Hugging Face checkpoint folder becomes one GGUF file.
#include "convert/convert.h"

#include <filesystem>
#include <iostream>
#include <string>

#include "examples/common/main_wrapper.h"
#include "examples/common/progress.h"

namespace {

constexpr const char* kProgram = "l2a-convert";

constexpr const char* kDescription =
    "Converts a Hugging Face checkpoint (Qwen2.5, Qwen3, Llama, and their L2A forms) to one GGUF "
    "file.\n"
    "HF_DIR holds config.json, model.safetensors (or its shards and index), and for text "
    "tokenizer.json\n"
    "and tokenizer_config.json. Dense files load in other GGUF programs too; L2A files load in "
    "l2a.";

constexpr const char* kExamples =
    "Types: f32 keeps every bit; bf16 keeps bf16 checkpoints exactly; f16 (default) is read "
    "fastest by most\n"
    "programs; q8_0 halves f16 at nearly the same quality. Norms, biases and routers are always "
    "f32.\n\n"
    "Examples:\n"
    "  l2a-convert Qwen3-0.6B -o qwen3-0.6b.gguf\n"
    "  l2a-convert Qwen3-0.6B -o qwen3-0.6b-q8_0.gguf --type q8_0\n"
    "  l2a-convert my-l2a-checkpoint -o l2a.gguf --type bf16 --quiet\n\n"
    "The output appears under its name only when it is complete.\n"
    "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 130 interrupted.";

int convert(const l2a::ConvertOptions& given, bool quiet) {
  l2a::clean_up_on_signals();
  l2a::Progress progress(!quiet);
  l2a::ConvertOptions options = given;
  options.progress = [&](std::uint64_t done, std::uint64_t total, std::string_view tensor) {
    progress.update(done, total, tensor);
  };
  const l2a::ConvertResult result = l2a::convert_checkpoint(options);
  progress.clear();
  for (const std::string& warning : result.warnings) {
    l2a::print_error(kProgram, "warning: " + warning);
  }
  if (!quiet) {
    std::cerr << l2a::concat(options.target.string(), ": ", result.architecture, ", ",
                             result.tensors, " tensors, ",
                             l2a::bytes_text(static_cast<double>(result.file_bytes)), ", ",
                             l2a::seconds_text(progress.seconds()), "\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return l2a::run_program(kProgram, [&] {
    l2a::ConvertOptions options;
    std::string source;
    std::string target;
    std::string type = "f16";
    bool quiet = false;
    CLI::App app(kDescription, kProgram);
    app.footer(kExamples);
    app.set_version_flag("--version", l2a::concat(kProgram, " ", L2A_VERSION));
    app.add_option("HF_DIR", source, "Folder of the checkpoint")
        ->required()
        ->check(l2a::not_empty())
        ->option_text("FOLDER");
    app.add_option("-o,--output", target, "GGUF file to write; replaced when it exists")
        ->required()
        ->check(l2a::not_empty())
        ->option_text("FILE.gguf REQUIRED");
    app.add_option("--type", type, "Type of the matrices: f32, f16, bf16 or q8_0")
        ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0"}))
        ->option_text("TYPE [f16]");
    app.add_flag("-q,--quiet", quiet, "No progress and no summary; warnings and errors only");
    if (const auto code = l2a::parse_arguments(kProgram, app, argc, argv)) {
      return *code;
    }
    options.source = source;
    options.target = target;
    options.type = l2a::dtype_from_name(type).value();
    return convert(options, quiet);
  });
}
