#include "models/placement.h"

#include <doctest/doctest.h>

#include "graph/error.h"
#include "tests/device_backend.h"
#include "tests/models/test_model.h"

namespace l2a::test {
namespace {

TEST_CASE("the last layers go to the device, and all of the model when there are no more") {
  const std::shared_ptr<Backend> device = make_reference_backend(), host = make_reference_backend();
  const auto where = [&](std::int64_t count) {
    const Placement placement = split_layers(3, count, device, host);
    std::string text(1, placement.outer == device ? 'd' : 'h');
    for (std::int64_t layer = 0; layer < 3; ++layer)
      text += &placement.layer(layer) == device.get() ? 'd' : 'h';
    return text;
  };
  CHECK(where(0) == "hhhh");
  CHECK(where(1) == "hhhd");
  CHECK(where(3) == "hddd");
  CHECK(where(4) == "dddd");
  CHECK(where(1000) == "dddd");
  using Each = std::vector<Backend*>;
  CHECK(split_layers(3, 0, device, host).backends() == Each{host.get()});
  CHECK(split_layers(3, 1, device, host).backends() == Each{host.get(), device.get()});
  CHECK(split_layers(3, 4, device, host).backends() == Each{device.get()});
}

TEST_CASE("a model split over two memories computes what it does in one, to the bit") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(24);
  SessionOptions options;
  options.context = 24;
  options.cache_dtype = Dtype::f16;
  for (const std::string name :
       {"qwen3-tiny", "l2a-qwen3-tiny", "l2a-qwen3-pruned", "l2a-qwen3-widen", "qwen2-tiny"}) {
    CAPTURE(name);
    const auto file = convert_to(folder / "model.gguf", checkpoint(name));
    const std::shared_ptr<Backend> host = make_reference_backend();
    const auto undivided = Model::load(file, host);
    Session whole(undivided, host, {}, options);
    const std::vector<float> expected = logits_of(whole, tokens, 9, 3);
    const std::int64_t layers = undivided->config().layers;
    for (std::int64_t count = 0; count <= layers + 1; ++count) {
      CAPTURE(count);
      const auto device = std::make_shared<DeviceBackend>("none");
      const auto model = Model::load(file, split_layers(layers, count, device, host));
      Session split(model, device, {host}, options);
      CHECK(logits_of(split, tokens, 9, 3) == expected);
      CHECK(split.routing().routed == whole.routing().routed);
      SessionOptions forced = options;
      forced.forced_share = 0.4;
      Session forced_split(model, device, {host}, forced);
      Session forced_whole(undivided, host, {}, forced);
      CHECK(logits_of(forced_split, tokens, 9, 3) == logits_of(forced_whole, tokens, 9, 3));

      // And nothing that belongs to a layer runs elsewhere: what crosses over is handed on, not weights.
      const Plan& plan = split.plan(1, LogitsOf::last);
      std::int64_t copies = 0;
      for (const ScheduleStep& step : plan.schedule().steps) {
        if (step.kind != ScheduleStep::Kind::copy) continue;
        ++copies;
        CHECK_FALSE(plan.graph().value(step.value).buffer);
      }
      CHECK((copies == 0) == (count == 0 || count > layers));
      CHECK(copies <= 4);  // positions, RoPE table, x there and back
    }
    std::filesystem::remove(folder / "model.gguf");
  }
}

TEST_CASE("a placement of another number of layers than the model has is refused") {
  const TemporaryFolder folder;
  const auto file = convert_to(folder / "model.gguf", checkpoint("qwen3-tiny"));
  const std::shared_ptr<Backend> host = make_reference_backend();
  const std::string message =
      message_of<Error>([&] { Model::load(file, split_layers(2, 1, host, host)); });
  CHECK(contains(message, "has 3 layers, and 2 were placed"));
}

}  // namespace
}  // namespace l2a::test
