// From l2a-perplexity's files to l2a-convert: importance matrices, and routing statistics to prune by.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "convert/imatrix.h"
#include "convert/safetensors.h"
#include "models/gguf.h"
#include "ops/dequantize.h"
#include "tests/examples/perplexity.h"
#include "tests/models/edited_gguf.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::ids;
using test::model;
using test::some_tokens;
using test::TemporaryFolder;

using Arguments = std::vector<std::string>;

std::vector<float> floats(const GgufFile& file, const std::string& name) {
  const GgufTensor* tensor = file.find_tensor(name);
  REQUIRE(tensor != nullptr);
  std::int64_t count = 1;
  for (const std::int64_t extent : tensor->shape) count *= extent;
  std::vector<float> values(static_cast<std::size_t>(count));
  const auto width = static_cast<std::size_t>(tensor->shape.back());
  const std::size_t row_bytes = dtype_bytes(tensor->dtype, tensor->shape.back());
  for (std::size_t row = 0; row * width < values.size(); ++row) {
    dequantize_row(tensor->dtype, tensor->data.subspan(row * row_bytes, row_bytes),
                   std::span(values).subspan(row * width, width));
  }
  return values;
}

std::string evaluate(const TemporaryFolder& folder, const std::string& model_path,
                     std::span<const Token> tokens, const char* option, const char* name,
                     const char* context = "32") {
  const std::string target = (folder / name).string();
  const Ended ended = test::run("l2a-perplexity", {model_path, "--tokens", ids(tokens), "--context",
                                                   context, option, target});
  CAPTURE(ended.err);
  REQUIRE(ended.code == 0);
  return target;
}

TEST_CASE("the imatrix of the first layer is the mean squares of the normalized embeddings") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(80);  // two chunks of 32: 64 are evaluated
  const std::string path = evaluate(folder, model("qwen3-tiny"), tokens, "--imatrix", "im.gguf");
  const auto source = GgufFile::open(model("qwen3-tiny"));
  const std::vector<float> embedding = floats(*source, "token_embd.weight");
  const std::vector<float> norm = floats(*source, "blk.0.attn_norm.weight");
  std::vector<double> squares(64, 0.0);
  for (std::size_t t = 0; t < 64; ++t) {
    const float* x = embedding.data() + static_cast<std::size_t>(tokens[t]) * 64;
    double sum = 0;
    for (std::size_t i = 0; i < 64; ++i) sum += static_cast<double>(x[i]) * x[i];
    const double scale = 1 / std::sqrt(sum / 64 + 1e-6);
    for (std::size_t i = 0; i < 64; ++i) squares[i] += std::pow(x[i] * scale * norm[i], 2);
  }
  const auto file = GgufFile::open(path);
  CHECK(file->get_string("general.type") == "imatrix");
  CHECK(file->get_u64("imatrix.chunk_count") == 2);
  CHECK(file->get_u64("imatrix.chunk_size") == 32);
  CHECK(file->get_strings("imatrix.datasets").size() == 1);
  for (const char* weight : {"attn_q", "attn_k", "attn_v"}) {
    CHECK(floats(*file, concat("blk.0.", weight, ".weight.counts")) == std::vector<float>{64});
    const auto sums = floats(*file, concat("blk.0.", weight, ".weight.in_sum2"));
    REQUIRE(sums.size() == 64);
    for (std::size_t i = 0; i < 64; ++i)
      CHECK(static_cast<double>(sums[i]) == doctest::Approx(squares[i]).epsilon(1e-4));
  }
  // Every matrix is there: the last layer's for all tokens, the head for those whose logits were computed.
  CHECK(file->tensors().size() == 2 * (3 * 7 + 1));
  CHECK(floats(*file, "blk.2.ffn_down.weight.counts") == std::vector<float>{64});
  CHECK(floats(*file, "output.weight.counts") == std::vector<float>{32});
  const Importance means = read_imatrix(path);
  CHECK(static_cast<double>(means.at("blk.0.attn_q.weight")[3]) ==
        doctest::Approx(squares[3] / 64).epsilon(1e-4));
}

TEST_CASE("what only routed tokens are multiplied with counts routed tokens alone") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(64);
  const std::string source = model("l2a-qwen3-sparse-bf16");
  const auto file = GgufFile::open(evaluate(folder, source, tokens, "--imatrix", "im.gguf"));
  const auto stats = nlohmann::json::parse(
      test::read_file(evaluate(folder, source, tokens, "--route-stats", "stats.json")));
  std::int64_t routed_in_all = 0, layers = 0;
  for (std::size_t layer = 0; layer < stats["routed"].size(); ++layer) {
    const auto& routed = stats["routed"][layer];
    if (routed.is_null()) continue;
    const auto count = [&](const char* part) {
      return floats(*file, concat("blk.", layer, ".", part, ".weight.counts")).front();
    };
    CHECK(count("attn_q_global") == routed.get<float>());
    CHECK(count("attn_output_global") == routed.get<float>());
    CHECK(count("attn_k_global") == 64);
    CHECK(count("attn_v_global") == 64);
    routed_in_all += routed.get<std::int64_t>();
    ++layers;
  }
  CHECK(routed_in_all > 0);
  CHECK(routed_in_all < 64 * layers);
}

TEST_CASE("the routing statistics are what l2a-logits says of every chunk") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(70);
  const std::string source = model("l2a-qwen3-pruned");
  const auto stats = nlohmann::json::parse(
      test::read_file(evaluate(folder, source, tokens, "--route-stats", "stats.json", "35")));
  std::vector<std::int64_t> expected(2, 0);
  for (std::size_t begin = 0; begin < 70; begin += 35) {
    const std::string target = (folder / "l.safetensors").string();
    REQUIRE(test::run("l2a-logits", {source, "--type-kv", "f16", "--tokens",
                                     ids(std::span(tokens).subspan(begin, 35)), "--out", target})
                .code == 0);
    const Safetensors file = Safetensors::open_file(target);
    const auto route = file.find("route")->data;
    for (std::size_t i = 0; i < route.size(); ++i)
      expected[i / 35] += std::to_integer<std::int64_t>(route[i]);
  }
  CHECK(stats["architecture"] == "l2a-qwen3");
  CHECK(stats["layers"] == 4);
  CHECK(stats["tokens"] == 70);
  CHECK(stats["routed"] == nlohmann::json({expected[0], nullptr, expected[1], nullptr}));
  CHECK(stats["share"][0].get<double>() == doctest::Approx(static_cast<double>(expected[0]) / 70));
}

TEST_CASE("l2a-run writes statistics too, also of conversations it has forgotten") {
  const TemporaryFolder folder;
  const std::string target = (folder / "stats.json").string();
  const Arguments common = {model("l2a-qwen3-pruned"), "--temp", "0", "-n", "4",
                            "--route-stats",           target};
  Arguments once = common;
  once.insert(once.end(), {"-p", "hello", "--json"});
  const Ended ended = test::run("l2a-run", once);
  REQUIRE(ended.code == 0);
  const auto figures = nlohmann::json::parse(ended.out);
  const auto stats = nlohmann::json::parse(test::read_file(target));
  CHECK(stats["tokens"] == figures["prompt_tokens"].get<int>() + 3);
  CHECK(stats["share"] == figures["routed"]["layers"]);

  Arguments chat = common;
  chat.emplace_back("--chat");
  test::Setup setup;
  setup.text = "hello\n/clear\nhello\n";
  REQUIRE(test::run("l2a-run", chat, setup).code == 0);
  const auto twice = nlohmann::json::parse(test::read_file(target));
  CHECK(twice["tokens"] == 2 * stats["tokens"].get<int>());
  CHECK(twice["routed"][0] == 2 * stats["routed"][0].get<int>());

  check_fails("l2a-run",
              {model("qwen3-tiny"), "-p", "hello", "--route-stats", (folder / "d.json").string()},
              1, {"--route-stats", "no layer with a router"}, {}, folder.path());
}

TEST_CASE("--prune-below drops the layers that routed less, and says which and what is saved") {
  const TemporaryFolder folder;
  const std::string source = model("l2a-qwen3-pruned");
  const auto stats = [&](const char* routed) {
    return folder
        .write("stats.json",
               concat(R"({"architecture": "l2a-qwen3", "layers": 4, "tokens": 1000, "routed": )",
                      routed, "}"))
        .string();
  };
  const std::string target = (folder / "p.gguf").string();
  const Ended ended = test::run("l2a-convert", {source, "-o", target, "--prune-below", "0.02",
                                                "--stats", stats("[20, null, 19, null]")});
  CAPTURE(ended.err);
  CHECK(ended.code == 0);
  CHECK(contains(ended.err, "share of 1000 tokens they routed: 2 (1.90%)\n"));
  CHECK(contains(ended.err, "KV cache at 32K tokens"));
  CHECK(contains(ended.err, "KV cache at 128K tokens"));
  const auto pruned = GgufFile::open(target);
  CHECK(pruned->find_bools("l2a-qwen3.l2a.global_layers") ==
        std::vector<bool>{true, false, false, false});
  CHECK(pruned->find_tensor("blk.0.attn_router.weight") != nullptr);
  CHECK(pruned->find_tensor("blk.2.attn_router.weight") == nullptr);
  CHECK(pruned->find_tensor("blk.2.attn_q_global.weight") == nullptr);

  const auto fails = [&](const std::string& from, const std::string& file,
                         std::initializer_list<std::string_view> says, const char* share = "0.02") {
    check_fails(
        "l2a-convert",
        {from, "-o", (folder / "no.gguf").string(), "--prune-below", share, "--stats", file}, 1,
        says, {}, folder.path());
  };
  const std::string fine = stats("[20, null, 19, null]");
  fails(source, fine, {"stats.json", "no layer routed less than 0.01 of 1000"}, "0.01");
  fails(model("qwen3-tiny"), fine, {"dense"});
  fails(model("l2a-qwen3-tiny"), fine, {"stats.json", "of 4 layers", "of 3"});
  fails(source, (folder / "none").string(), {"none"});
  fails(source, stats("[20, null, 19"), {"stats.json"});
  check_fails("l2a-convert", {source, "-o", target, "--prune-below", "0.1"}, 2, {"--stats"});
  check_fails("l2a-convert", {source, "-o", target, "--prune-below", "nan", "--stats", fine}, 2,
              {"--prune-below", "nan"});
  check_fails("l2a-convert",
              {source, "-o", target, "--prune-below", "0.1", "--stats", fine, "--prune", "1"}, 2,
              {"--prune"});
}

TEST_CASE("quantizing by an imatrix loses less of what its inputs weigh") {
  const TemporaryFolder folder;
  const std::string source = model("qwen3-tiny");
  const std::string imatrix =
      evaluate(folder, source, some_tokens(512), "--imatrix", "im.gguf", "64");
  const std::string plain = (folder / "plain.gguf").string(),
                    guided = (folder / "guided.gguf").string();
  REQUIRE(test::run("l2a-convert", {source, "-o", plain, "--type", "q4_0"}).code == 0);
  const Ended ended = test::run(
      "l2a-convert", {source, "-o", guided, "--type", "q4_0", "--imatrix", imatrix, "--quiet"});
  REQUIRE(ended.code == 0);
  CHECK(ended.err == "");  // nothing is missing
  const Importance importance = read_imatrix(imatrix);
  const auto exact = GgufFile::open(source), a = GgufFile::open(plain), b = GgufFile::open(guided);
  double plain_loss = 0, guided_loss = 0;
  for (const auto& [name, factors] : importance) {
    if (a->find_tensor(name)->dtype != Dtype::q4_0) continue;
    const auto x = floats(*exact, name), y = floats(*a, name), z = floats(*b, name);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double factor = factors[i % factors.size()];
      plain_loss += factor * std::pow(static_cast<double>(y[i]) - x[i], 2);
      guided_loss += factor * std::pow(static_cast<double>(z[i]) - x[i], 2);
    }
  }
  CHECK(guided_loss < plain_loss);
}

TEST_CASE("an imatrix of another model or none is refused in one line, gaps are warned of once") {
  const TemporaryFolder folder;
  const std::string source = model("qwen3-tiny");
  const std::string imatrix =
      evaluate(folder, source, some_tokens(64), "--imatrix", "im.gguf", "32");
  const auto fails = [&](const std::string& from, const std::string& file,
                         std::initializer_list<std::string_view> says) {
    check_fails("l2a-convert",
                {from, "-o", (folder / "no.gguf").string(), "--type", "q4_0", "--imatrix", file}, 1,
                says, {}, folder.path());
  };
  fails(source, (folder / "none").string(), {"none"});
  fails(source, folder.write("junk", "junk junk junk junk junk junk").string(), {"junk"});
  fails(source, model("qwen2-tiny"), {"is not an imatrix", "general.type"});
  fails(model("l2a-qwen3-pruned"), imatrix, {"another model", "64 columns", "96"});
  const std::string good = test::read_file(imatrix);
  // The last 28 bytes are padding.
  for (const std::size_t size : {good.size() - 29, good.size() / 2, std::size_t{40}})
    fails(source, folder.write("cut", std::string_view(good).substr(0, size)).string(), {"cut"});
  const auto edited = [&](auto edit) {
    test::EditedGguf file(*GgufFile::open(imatrix));
    edit(file);
    file.write(folder / "edited.gguf");
    return (folder / "edited.gguf").string();
  };
  const std::string name = "blk.1.attn_k.weight";
  std::vector<float> values(64, 1.0f);
  edited([](test::EditedGguf&) {});  // so that the folder has the file before each failure
  for (const float bad : {NAN, INFINITY, -1.0f}) {
    values[5] = bad;
    const auto path =
        edited([&](test::EditedGguf& file) { file.set_tensor(name + ".in_sum2", {64}, values); });
    fails(source, path, {"edited.gguf", "blk.1.attn_k.weight.in_sum2", "finite numbers"});
  }
  fails(source, edited([&](test::EditedGguf& file) { file.erase_tensor(name + ".counts"); }),
        {"edited.gguf", "blk.1.attn_k.weight.counts", "missing"});
  fails(source,
        edited([&](test::EditedGguf& file) { file.retype_tensor(name + ".in_sum2", Dtype::f16); }),
        {"edited.gguf", "f16", "f32"});
  fails(source, edited([&](test::EditedGguf& file) { file.set("general.type", "model"); }),
        {"edited.gguf", "is not an imatrix"});

  const std::string gap = edited([&](test::EditedGguf& file) {
    file.erase_tensor(name + ".in_sum2");
    file.erase_tensor(name + ".counts");
    file.set_tensor("blk.2.attn_q.weight.counts", {1}, std::vector<float>{0});
  });
  const std::string target = (folder / "gap.gguf").string();
  const Ended ended = test::run(
      "l2a-convert", {source, "-o", target, "--type", "q4_0", "--imatrix", gap, "--quiet"});
  CHECK(ended.code == 0);
  CHECK(ended.err ==
        "l2a-convert: warning: 2 of 21 quantized matrices are not in the imatrix, "
        "'blk.1.attn_k.weight' the first; their columns count alike\n");
  const Ended useless =
      test::run("l2a-convert", {source, "-o", target, "--type", "f16", "--imatrix", gap, "-q"});
  CHECK(useless.code == 0);
  CHECK(contains(useless.err, "the imatrix changes nothing"));
  check_fails("l2a-convert", {source, "-o", imatrix, "--type", "q4_0", "--imatrix", imatrix}, 1,
              {"is an input"});
  CHECK(test::read_file(imatrix) == good);
}

}  // namespace
}  // namespace l2a
