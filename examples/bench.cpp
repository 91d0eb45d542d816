// l2a-bench: how fast a model runs, and how near to what the machine can do.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>

#include "examples/common/bench_report.h"
#include "examples/common/conversion_bench.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "examples/common/random_model.h"
#include "examples/common/routing_options.h"
#include "graph/stopwatch.h"
#include "models/sequence_pool.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-bench";

constexpr const char* kDescription =
    "Measures a model's speed: prompts of -p tokens (pp) and -n tokens one by one (tg), each after "
    "-d\n"
    "positions. Options with several values, between commas or given several times, are all "
    "combined.";

constexpr const char* kExamples =
    "A depth is not run but assumed: the caches hold arbitrary numbers, which take the same time.\n"
    "'of the limit': tg, bytes of weights and caches read, over reading memory as fast as it goes\n"
    "with the same threads; pp, operations over those of the instructions that multiply.\n"
    "--sequences generates for several at once, which read the weights together: t/s is of all, "
    "'each'\n"
    "of one of them.\n"
    "Both limits are measured in the same run, every few seconds; the fastest counts. An op whose\n"
    "data is still in a cache can be above the limit of memory.\n\n"
    "--convert times the making of a file instead, which goes into the folder of temporary files "
    "and\n"
    "from there at once; the disk counts.\n\n"
    "Examples:\n"
    "  l2a-bench model.gguf\n"
    "  l2a-bench model.gguf -p 512,2048 -n 64 -d 0,4096,16384 -t 1,2 --type-kv f16,f32\n"
    "  l2a-bench model.gguf -p 0 -n 32 --ops                      # tg only; where the time goes\n"
    "  l2a-bench model.gguf -p 0 -n 32 --sequences 1,4,8          # as a server generates\n"
    "  l2a-bench --shape 8b --type q4_k_m --l2a --route forced:0.2 -d 0,32768   # no file needed\n"
    "  l2a-bench f16.gguf --convert q8_0,q4_k_m -t 1,2\n"
    "  l2a-bench model.gguf -o json | jq '.[] | {n_prompt, n_gen, median_ts}'";

struct Options {
  l2a::ModelOptions model;
  std::vector<std::int64_t> prompts = {512}, generated = {128}, depths = {0}, sequences = {1};
  std::vector<int> threads = {0};
  std::vector<std::string> cache_types = {"f16"};
  std::vector<std::string> conversions;  // instead of tests
  std::int64_t chunk = 512, repetitions = 5;
  std::string route = "model", output = "md";
  std::string type = "q8_0", mode = "add";
  l2a::RandomModelOptions random;
  bool l2a = false, ops = false, no_warmup = false, quiet = false;

  std::optional<double> forced_share() const {
    const l2a::RouteChoice choice = l2a::route_choice(route);
    if (choice.by == l2a::RouteChoice::By::model) return std::nullopt;
    return choice.share;
  }
  l2a::BenchFormat format() const {
    return output == "md"    ? l2a::BenchFormat::markdown
           : output == "csv" ? l2a::BenchFormat::csv
                             : l2a::BenchFormat::json;
  }
  // What is wrong with the options together; empty when nothing is.
  std::string conflict() const {
    if (!conversions.empty() && model.path.empty())
      return "--convert goes with MODEL, a file or a folder to convert";
    if (model.path.empty() == random.shape.empty())
      return "either MODEL or --shape is needed, for a file or for random weights";
    if (!random.shape.empty() && (model.gpu_layers || model.device_memory))
      return "--gpu-layers and --device-memory go with a file; random weights are on one backend";
    const auto zero = [](std::int64_t count) { return count == 0; };
    if (std::all_of(prompts.begin(), prompts.end(), zero) &&
        std::all_of(generated.begin(), generated.end(), zero))
      return "-p 0 and -n 0 leave nothing to measure";
    if (random.sinks > 0 && mode == "add") return "--sinks goes with --l2a-mode widen";
    return {};
  }
};

std::vector<Token> some_tokens(std::int64_t count, std::int64_t vocabulary) {
  std::vector<Token> tokens;
  std::uint32_t state = 1;
  for (std::int64_t i = 0; i < count; ++i) {
    state = state * 1664525U + 1013904223U;
    tokens.push_back(static_cast<Token>((state >> 8) % static_cast<std::uint64_t>(vocabulary)));
  }
  return tokens;
}

// Of this process, its part of mapped files included; 0 where the system does not say.
std::uint64_t resident_bytes() {
  std::uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

struct Test {
  std::int64_t prompt, generated, sequences, depth;
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options),
        report_(options.format()),
        progress_(!options.quiet && ::isatty(STDERR_FILENO) == 1,
                  [](double runs) { return concat(std::llround(runs), " runs"); }) {
    for (const std::int64_t depth : options.depths) {
      for (const std::int64_t count : options.prompts)
        if (count > 0) tests_.push_back({count, 0, 1, depth});
      for (const std::int64_t sequences : options.sequences) {
        for (const std::int64_t count : options.generated)
          if (count > 0) tests_.push_back({0, count, sequences, depth});
      }
    }
    total_ = tests_.size() * options.threads.size() * options.cache_types.size() *
             static_cast<std::size_t>(options.repetitions);
  }

  void run() {
    for (const int threads : options_.threads) {
      const l2a::PlacedModel placed = load(threads);
      limits_ = {};
      limits_age_.reset();
      for (const std::string& type : options_.cache_types) {
        l2a::BenchResult head;
        head.model = options_.model.path.empty()
                         ? random_name()
                         : std::filesystem::path(options_.model.path).filename().string();
        head.architecture = placed.model->config().architecture;
        head.backend = std::string(placed.backend->name());
        head.threads = threads;
        head.cache_type = type;
        if (placed.model->config().l2a) head.route = options_.route;
        head.chunk = options_.chunk;
        head.weight_bytes = placed.model->weight_bytes();
        head.integer_products = l2a::dtype_info(placed.model->layer(0).gate.dtype).quantized;
        run_tests(placed, head);
      }
    }
    progress_.clear();
    l2a::print(report_.end());
  }

 private:
  l2a::PlacedModel load(int threads) {
    l2a::ModelOptions options = options_.model;
    options.threads = threads;
    auto backend = l2a::make_backend(options.backend, threads);
    progress_.update(done_, total_, "loading");
    if (options.path.empty()) {
      auto model = l2a::Model::load(l2a::RandomModel(options_.random), {backend, {}});
      return {std::move(backend), {}, std::move(model)};
    }
    // Placed so that there is room for the largest of the caches.
    const auto bytes = [](const std::string& type) {
      return l2a::dtype_bytes(l2a::dtype_from_name(type).value(), 32);
    };
    const std::string largest =
        *std::max_element(options_.cache_types.begin(), options_.cache_types.end(),
                          [&](const auto& a, const auto& b) { return bytes(a) < bytes(b); });
    progress_.clear();
    return l2a::place_model(options, l2a::open_file(options), session_options(largest),
                            l2a::LogitsOf::last, std::move(backend), slots());
  }

  std::string random_name() const { return l2a::RandomModel(options_.random).name(); }

  l2a::SessionOptions session_options(const std::string& cache_type) const {
    l2a::SessionOptions options;
    options.chunk = options_.chunk;
    options.cache_dtype = l2a::dtype_from_name(cache_type).value();
    options.forced_share = options_.forced_share();
    for (const Test& test : tests_)
      options.context = std::max(options.context, test.depth + test.prompt + test.generated);
    return options;
  }

  std::int64_t slots() const { return *std::ranges::max_element(options_.sequences); }

  void run_tests(const l2a::PlacedModel& placed, const l2a::BenchResult& head) {
    l2a::SequencePool pool(placed.model, placed.backend, placed.fallbacks,
                           session_options(head.cache_type), slots());
    for (const Test& test : tests_) {
      l2a::BenchResult result = head;
      result.prompt = test.prompt;
      result.generated = test.generated;
      result.sequences = test.sequences;
      result.depth = test.depth;
      measure(pool, *placed.backend, result);
      progress_.clear();
      l2a::print(report_.add(result));
    }
  }

  void measure(l2a::SequencePool& pool, l2a::Backend& backend, l2a::BenchResult& result) {
    raise_limits(backend);
    result.limits = limits_;
    const std::vector<Token> tokens =
        some_tokens(result.tokens(), pool.model().config().vocabulary);
    if (!options_.no_warmup) {
      assume_depth(pool, result);
      if (result.prompt > 0) {
        pool.prefill(0, tokens).most_likely();
      } else {
        pool.step(entries(result, tokens, 0)).most_likely();
      }
    }
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      progress_.update(done_++, total_, result.test());
      result.seconds.push_back(run_once(pool, result, tokens));
    }
    if (options_.ops) {
      pool.time_ops(&result.ops);
      run_once(pool, result, tokens);
      pool.time_ops(nullptr);
    }
    l2a::RoutingStats routing;
    for (std::int64_t slot = 0; slot < result.sequences; ++slot) {
      const l2a::CacheBytes caches = pool.cache_bytes(slot);
      result.caches.local += caches.local;
      result.caches.global += caches.global;
      routing += pool.routing(slot);
    }
    result.resident = resident_bytes();
    result.routed_share = routing.share();
    result.cost = cost(pool, result);
  }

  static void assume_depth(l2a::SequencePool& pool, const l2a::BenchResult& result) {
    for (std::int64_t slot = 0; slot < result.sequences; ++slot) pool.assume(slot, result.depth);
  }

  // The next token of each sequence.
  static std::vector<l2a::SlotToken> entries(const l2a::BenchResult& result,
                                             std::span<const Token> tokens, std::int64_t step) {
    std::vector<l2a::SlotToken> entries;
    for (std::int64_t slot = 0; slot < result.sequences; ++slot)
      entries.push_back({slot, tokens[static_cast<std::size_t>(step * result.sequences + slot)]});
    return entries;
  }

  static double run_once(l2a::SequencePool& pool, l2a::BenchResult& result,
                         std::span<const Token> tokens) {
    assume_depth(pool, result);
    double handing_over = 0;
    const double seconds = l2a::seconds_of([&] {
      if (result.prompt > 0) {
        pool.prefill(0, tokens).most_likely();
      } else {
        // As who generates does, it waits for each token.
        for (std::int64_t i = 0; i < result.generated; ++i) {
          l2a::Evaluation step;
          handing_over += l2a::seconds_of([&] { step = pool.step(entries(result, tokens, i)); });
          step.most_likely();
        }
      }
    });
    result.handing_over.push_back(handing_over / static_cast<double>(result.steps()));
    return seconds;
  }

  // Of all steps of a run.
  static l2a::Cost cost(l2a::SequencePool& pool, const l2a::BenchResult& result) {
    l2a::Cost total;
    std::vector<std::int64_t> slots(static_cast<std::size_t>(result.sequences));
    std::iota(slots.begin(), slots.end(), 0);
    const std::int64_t step = result.prompt > 0 ? result.chunk : 1;
    for (std::int64_t done = 0; done < result.steps();) {
      const std::int64_t count = std::min(step, result.steps() - done);
      done += count;
      const l2a::LogitsOf logits =
          done == result.steps() ? l2a::LogitsOf::last : l2a::LogitsOf::none;
      const l2a::Plan& plan = result.prompt > 0 ? pool.plan(0, count, logits) : pool.plan(slots);
      total += plan.graph().cost({result.depth + done, result.routed_share});
    }
    return total;
  }

  // A busy machine's limits vary, so they are measured again every few seconds.
  void raise_limits(l2a::Backend& backend) {
    constexpr double kSeconds = 5;
    if (limits_age_ && limits_age_->seconds() < kSeconds) return;
    const l2a::Limits measured = backend.measure_limits();
    limits_age_.emplace();
    limits_.how = measured.how;
    limits_.read_bytes = std::max(limits_.read_bytes, measured.read_bytes);
    limits_.integer_operations = std::max(limits_.integer_operations, measured.integer_operations);
    limits_.bf16_operations = std::max(limits_.bf16_operations, measured.bf16_operations);
    limits_.float_operations = std::max(limits_.float_operations, measured.float_operations);
  }

  const Options& options_;
  std::vector<Test> tests_;
  l2a::BenchReport report_;
  l2a::Progress progress_;
  std::uint64_t done_ = 0, total_ = 0;
  l2a::Limits limits_;  // of the backend, the best so far
  std::optional<l2a::Stopwatch> limits_age_;
};

template <class Value>
CLI::Option* add_list(CLI::App& app, const char* name, std::vector<Value>& values,
                      const std::string& help) {
  return app.add_option(name, values, help)->delimiter(',')->allow_extra_args(false);
}

CLI::Validator recipe_name() {
  return {[](std::string& name) {
            return l2a::find_recipe(name) != nullptr
                       ? std::string()
                       : concat("'", name, "' is none of ", l2a::recipe_names());
          },
          ""};
}

void add_random_options(CLI::App& app, Options& options) {
  const std::string shapes = CLI::detail::join(l2a::random_model_shapes(), "|");
  auto* shape = app.add_option("--shape", options.random.shape,
                               "Random weights in the shape of this Qwen3 model instead of a file");
  shape->check(CLI::IsMember(l2a::random_model_shapes()))->option_text(shapes);
  app.add_option("--type", options.type, concat("Their types: ", l2a::recipe_names()))
      ->check(recipe_name())
      ->needs(shape)
      ->option_text("TYPE [q8_0]");
  auto* l2a = app.add_flag("--l2a", options.l2a, "An L2A model of that shape")->needs(shape);
  app.add_option("--l2a-mode", options.mode, "Its mode")
      ->check(CLI::IsMember({"add", "widen"}))
      ->needs(l2a)
      ->option_text("add|widen [add]");
  app.add_option("--window", options.random.window, "Its window, in keys")
      ->check(CLI::Range(1, 1 << 24))
      ->needs(l2a)
      ->option_text("W [4095]");
  app.add_option("--sinks", options.random.sinks, "First positions that all its tokens see")
      ->check(CLI::Range(0, 1 << 20))
      ->needs(l2a)
      ->option_text("S [0]");
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("MODEL", options.model.path, "GGUF file, as l2a-convert writes")
      ->check(l2a::not_empty())
      ->option_text("FILE.gguf");
  const auto tokens = CLI::Range(0, 1 << 28);
  add_list(app, "-p,--n-prompt", options.prompts, "Tokens of a prompt; 0: none")
      ->check(tokens)
      ->option_text("N,... [512]");
  add_list(app, "-n,--n-gen", options.generated, "Tokens one by one; 0: none")
      ->check(tokens)
      ->option_text("N,... [128]");
  add_list(app, "-d,--n-depth", options.depths, "Positions that are in the caches before")
      ->check(tokens)
      ->option_text("N,... [0]");
  add_list(app, "--sequences", options.sequences, "Sequences that generate together")
      ->check(CLI::Range(1, 256))
      ->option_text("N,... [1]");
  add_list(app, "-t,--threads", options.threads, "CPU threads; 0: as many as this process may use")
      ->check(CLI::Range(0, 1024))
      ->option_text("N,... [0]");
  add_list(app, "--type-kv", options.cache_types, "Types of the KV caches")
      ->check(CLI::IsMember(l2a::cache_type_names()))
      ->option_text(concat(CLI::detail::join(l2a::cache_type_names(), "|"), ",... [f16]"));
  l2a::add_backend_options(app, options.model.backend);
  l2a::add_placement_options(app, options.model);
  l2a::add_route_option(
      app, options.route, false,
      "Of L2A models: the tokens that the model routes, or a pseudo-random share of them\n"
      "in each layer, whatever its routers say");
  app.add_option("-r,--repetitions", options.repetitions, "Runs of each test, after a warm-up")
      ->check(CLI::Range(1, 1000))
      ->option_text("N [5]");
  app.add_flag("--no-warmup", options.no_warmup, "Leave the warm-up out");
  app.add_option("--chunk", options.chunk, "Prompt tokens that go through the model together")
      ->check(CLI::Range(1, 1 << 20))
      ->option_text("N [512]");
  add_list(app, "--convert", options.conversions,
           concat("Time conversions of MODEL to these types: ", l2a::recipe_names()))
      ->check(recipe_name())
      ->option_text("TYPE,...");
  app.add_flag("--ops", options.ops, "One more run of each test that tells the time by kind of op");
  add_random_options(app, options);
  app.add_option("-o,--output", options.output, "Markdown, CSV or JSON")
      ->check(CLI::IsMember({"md", "csv", "json"}))
      ->option_text("md|csv|json [md]");
  app.add_flag("-q,--quiet", options.quiet, "No progress");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        add_options(app, options);
        l2a::refuse_conflicts(app, [&] { return options.conflict(); });
      },
      [&] {
        for (int& threads : options.threads) {
          if (threads == 0) threads = l2a::default_thread_count();
        }
        options.random.recipe = l2a::find_recipe(options.type);
        if (options.l2a)
          options.random.l2a = options.mode == "add" ? l2a::L2aMode::add : l2a::L2aMode::widen;
        if (options.conversions.empty()) {
          Bench(options).run();
        } else {
          l2a::clean_up_on_signals();
          l2a::time_conversions({options.model.path, options.conversions, options.threads,
                                 options.repetitions, !options.no_warmup, options.quiet},
                                l2a::BenchReport(options.format()));
        }
        return 0;
      });
}
