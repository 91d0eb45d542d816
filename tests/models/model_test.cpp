// Loading weights: files whose tensors are not what their metadata promises.
#include "models/model.h"

#include <doctest/doctest.h>

#include <functional>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "graph/host_memory.h"
#include "tests/models/edited_gguf.h"
#include "tests/models/test_model.h"

namespace l2a::test {
namespace {

using Edit = std::function<void(EditedGguf&)>;

// Memory of the host that remembers the largest allocation; runs nothing.
class MeteredBackend final : public HostBackend {
 public:
  std::string_view name() const override { return "metered"; }
  bool supports(const Graph&, const Node&) const override { return false; }
  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    largest_ = std::max(largest_, bytes);
    return HostBackend::allocate(bytes);
  }
  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>&, std::span<const NodeId>,
                                      std::span<const Binding>) override {
    return nullptr;
  }
  std::size_t largest() const { return largest_; }

 private:
  std::size_t largest_ = 0;
};

class ModelFiles {
 public:
  explicit ModelFiles(std::string_view name)
      : source_(convert_to(folder_ / "source.gguf", checkpoint(name))) {}

  std::shared_ptr<const Model> load(const Edit& edit, std::shared_ptr<Backend> backend) const {
    EditedGguf file(*source_);
    edit(file);
    file.write(folder_ / "edited.gguf");
    return Model::load(GgufFile::open(folder_ / "edited.gguf"), std::move(backend));
  }

  // Loading must fail with a FileError that names the file and each of `parts`, and without having
  // allocated more than the few KiB that the tables and norms of a tiny model take.
  void check_refused(const Edit& edit, std::initializer_list<std::string_view> parts) const {
    const auto backend = std::make_shared<MeteredBackend>();
    const std::string message = message_of<FileError>([&] { load(edit, backend); });
    CHECK_MESSAGE(message.starts_with((folder_ / "edited.gguf").string()), message);
    for (const std::string_view part : parts)
      CHECK_MESSAGE(contains(message, part), "'", message, "' does not say: ", part);
    CHECK(backend->largest() < 64 * 1024);
  }
  void check_needed(std::string_view tensor) const {
    check_refused([&](EditedGguf& file) { file.erase_tensor(tensor); },
                  {concat("'", tensor, "'"), "missing"});
  }

 private:
  TemporaryFolder folder_;
  std::shared_ptr<const GgufFile> source_;
};

TEST_CASE("every tensor that a dense model needs is asked for by name") {
  const ModelFiles qwen3("qwen3-tiny");
  for (const std::string name :
       {"output_norm.weight", "blk.0.attn_norm.weight", "blk.2.attn_q.weight",
        "blk.1.attn_k.weight", "blk.1.attn_v.weight", "blk.2.attn_output.weight",
        "blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight", "blk.1.ffn_norm.weight",
        "blk.0.ffn_gate.weight", "blk.2.ffn_up.weight", "blk.2.ffn_down.weight"}) {
    CAPTURE(name);
    qwen3.check_needed(name);
  }
  const ModelFiles qwen2("qwen2-tiny");
  for (const std::string name : {"blk.0.attn_q.bias", "blk.1.attn_k.bias", "blk.2.attn_v.bias"}) {
    CAPTURE(name);
    qwen2.check_needed(name);
  }
}

TEST_CASE("every tensor that an L2A model needs is asked for by name") {
  const ModelFiles add("l2a-qwen3-tiny");
  for (const std::string name :
       {"blk.0.attn_router.weight", "blk.0.attn_norm_global.weight", "blk.1.attn_q_global.weight",
        "blk.1.attn_k_global.weight", "blk.2.attn_v_global.weight",
        "blk.2.attn_output_global.weight", "blk.0.attn_q_norm_global.weight",
        "blk.0.attn_k_norm_global.weight"}) {
    CAPTURE(name);
    add.check_needed(name);
  }
  ModelFiles("l2a-qwen2-tiny").check_needed("blk.3.attn_v_global.bias");
  ModelFiles("l2a-llama-widen").check_needed("blk.3.attn_router.weight");
}

TEST_CASE("a pruned layer needs no global weights, and an unpruned one without them is refused") {
  const ModelFiles files("l2a-qwen3-pruned");
  const auto model = files.load([](EditedGguf&) {}, make_cpu_backend());
  CHECK(model->layer(0).router);
  CHECK(!model->layer(1).router);
  CHECK(!model->layer(1).global_attention.q);
  files.check_refused(
      [](EditedGguf& file) { file.set(file.key("l2a.global_layers"), std::vector<bool>(4, true)); },
      {"'blk.1.attn_router.weight'", "missing"});
}

TEST_CASE("a tensor of another shape is refused by its name and both shapes") {
  const ModelFiles files("qwen3-tiny");
  const auto refused = [&](std::string_view name, std::vector<std::int64_t> shape,
                           std::string_view shown, std::string_view expected) {
    files.check_refused([&](EditedGguf& file) { file.reshape_tensor(name, shape); },
                        {concat("'", name, "'"), shown, expected});
  };
  refused("blk.1.attn_q.weight", {64, 128}, "[64, 128]", "[128, 64]");  // transposed
  refused("blk.1.attn_k.weight", {32, 64}, "[32, 64]", "[64, 64]");
  refused("blk.0.attn_norm.weight", {63}, "[63]", "[64]");
  refused("blk.0.attn_norm.weight", {1, 64}, "[1, 64]", "[64]");
  refused("blk.2.ffn_down.weight", {160, 64}, "[160, 64]", "[64, 160]");
  refused("output.weight", {511, 64}, "[511, 64]", "[512, 64]");
  ModelFiles("l2a-qwen3-tiny")
      .check_refused(
          [](EditedGguf& file) { file.reshape_tensor("blk.0.attn_router.weight", {64}); },
          {"'blk.0.attn_router.weight'", "[1, 64]"});
}

TEST_CASE("integers are refused wherever weights are expected") {
  const ModelFiles files("l2a-qwen3-tiny");
  for (const std::string name :
       {"token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.1.attn_norm.weight",
        "blk.2.attn_q_norm_global.weight", "blk.0.attn_router.weight"}) {
    CAPTURE(name);
    files.check_refused([&](EditedGguf& file) { file.retype_tensor(name, Dtype::i32); },
                        {concat("'", name, "'"), "i32"});
  }
}

TEST_CASE("norms and routers of any floating dtype are brought to f32") {
  const ModelFiles files("l2a-qwen3-tiny");
  const auto model = files.load(
      [](EditedGguf& file) {
        file.retype_tensor("blk.0.attn_norm.weight", Dtype::f16);
        file.retype_tensor("blk.0.attn_router.weight", Dtype::q8_0);
      },
      make_cpu_backend());
  CHECK(model->layer(0).attention_norm.dtype == Dtype::f32);
  CHECK(model->layer(0).router.dtype == Dtype::f32);
}

TEST_CASE("sizes that the tensors do not bear out are refused before memory is taken for them") {
  const ModelFiles files("qwen3-tiny");
  files.check_refused(
      [](EditedGguf& file) { file.set(file.key("block_count"), std::uint64_t{1} << 40); },
      {"block_count"});
  files.check_refused([](EditedGguf& file) { file.set(file.key("block_count"), 4096); },
                      {"'blk.3.attn_norm.weight'", "missing"});
  constexpr int kLargest = 1 << 24;
  files.check_refused([](EditedGguf& file) { file.set(file.key("feed_forward_length"), kLargest); },
                      {"'blk.0.ffn_gate.weight'"});
  files.check_refused(
      [](EditedGguf& file) {
        file.set(file.key("attention.key_length"), kLargest);
        file.set(file.key("attention.value_length"), kLargest);
      },
      {"'blk.0.attn_q.weight'"});
  files.check_refused(
      [](EditedGguf& file) {
        file.set(file.key("attention.head_count"), kLargest);
        file.set(file.key("attention.head_count_kv"), kLargest);
        file.set(file.key("attention.key_length"), kLargest);
        file.set(file.key("attention.value_length"), kLargest);
      },
      {"'blk.0.attn_q.weight'"});
}

TEST_CASE("frequency divisors must be positive floating-point numbers, one for each pair") {
  const ModelFiles files("llama-tiny");  // head size 16
  const auto with_divisors = [](std::vector<float> values) {
    return [values](EditedGguf& file) {
      file.set_tensor("rope_freqs.weight", {static_cast<std::int64_t>(values.size())}, values);
    };
  };
  std::vector<float> divisors(8, 1.0f);
  CHECK_NOTHROW(files.load(with_divisors(divisors), make_cpu_backend()));
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY}) {
    CAPTURE(bad);
    divisors[5] = bad;
    files.check_refused(with_divisors(divisors), {"'rope_freqs.weight'", "positive"});
  }
  files.check_refused(with_divisors(std::vector<float>(16, 1.0f)),
                      {"'rope_freqs.weight'", "[16]", "[8]"});
  files.check_refused(
      [&](EditedGguf& file) {
        with_divisors(std::vector<float>(8, 1.0f))(file);
        file.retype_tensor("rope_freqs.weight", Dtype::i32);
      },
      {"'rope_freqs.weight'", "i32"});
}

TEST_CASE("frequency divisors slow the frequencies") {
  const ModelFiles files("llama-tiny");
  const auto frequencies = [&](const Edit& edit) {
    const auto model = files.load(edit, make_cpu_backend());
    std::vector<float> values(8);
    model->rope_frequencies().buffer->download(0, std::as_writable_bytes(std::span(values)));
    return values;
  };
  const std::vector<float> divisors = {1, 1, 1, 1, 2, 4, 8, 8};
  const auto plain = frequencies([](EditedGguf&) {});
  const auto divided =
      frequencies([&](EditedGguf& file) { file.set_tensor("rope_freqs.weight", {8}, divisors); });
  for (std::size_t i = 0; i < divisors.size(); ++i) CHECK(divided[i] == plain[i] / divisors[i]);
}

TEST_CASE("a model without an output head uses its embedding") {
  const ModelFiles files("qwen3-tiny");
  const auto tied =
      files.load([](EditedGguf& file) { file.erase_tensor("output.weight"); }, make_cpu_backend());
  CHECK(tied->output().buffer == tied->token_embedding().buffer);
  const auto untied = files.load([](EditedGguf&) {}, make_cpu_backend());
  CHECK(untied->output().buffer != untied->token_embedding().buffer);
}

}  // namespace
}  // namespace l2a::test
