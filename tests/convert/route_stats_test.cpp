#include "convert/route_stats.h"

#include <doctest/doctest.h>

#include "graph/error.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;
using test::TemporaryFolder;

ModelConfig config_of(std::vector<bool> routers) {
  ModelConfig config;
  config.architecture = "l2a-qwen3";
  config.layers = static_cast<std::int64_t>(routers.size());
  config.l2a = L2aConfig{};
  config.l2a->global_layers = std::move(routers);
  return config;
}

TEST_CASE("routing statistics come back from their file as they were") {
  const TemporaryFolder folder;
  const ModelConfig config = config_of({true, false, true});
  write_route_stats(folder / "s.json", config, {7, {7, -1, 0}});
  const RoutingStats stats = read_route_stats(folder / "s.json", config);
  CHECK(stats.tokens == 7);
  CHECK(stats.routed == std::vector<std::int64_t>{7, -1, 0});
}

TEST_CASE("layers_below is strict, and skips layers without a router") {
  const RoutingStats stats{100, {2, -1, 1, 0, 3}};
  CHECK(layers_below(stats, 0.02) == std::vector<std::int64_t>{2, 3});
  CHECK(layers_below(stats, 1).size() == 4);
  CHECK(layers_below({100, {100}}, 1).empty());
}

TEST_CASE("statistics of another model, or of none, are refused by what is wrong") {
  const TemporaryFolder folder;
  const ModelConfig config = config_of({true, false});
  const auto refused = [&](const char* text, std::string_view says) {
    const auto path = folder.write("s.json", text);
    const std::string message = message_of<FileError>([&] { read_route_stats(path, config); });
    CAPTURE(text);
    CAPTURE(message);
    CHECK(contains(message, "s.json"));
    CHECK(contains(message, says));
  };
  const auto with = [](const char* routed, const char* tokens = "10") {
    return concat(R"({"architecture": "l2a-qwen3", "layers": 2, "tokens": )", tokens,
                  R"(, "routed": )", routed, "}");
  };
  CHECK(read_route_stats(folder.write("ok.json", with("[10, null]")), config).routed[0] == 10);
  refused("", "s.json");
  refused("[]", "object");
  refused(R"({"architecture": "l2a-qwen2", "layers": 2})", "'l2a-qwen2' of 2 layers");
  refused(R"({"architecture": "l2a-qwen3", "layers": 3})", "of 3 layers");
  refused(R"({"architecture": "l2a-qwen3"})", "layers");
  refused(with("[1, null]", "0").c_str(), "tokens");
  refused(with("[1, null]", "-5").c_str(), "tokens");
  refused(with("[1, null]", "1e300").c_str(), "tokens");
  refused(with("5").c_str(), "an array of 2");
  refused(with("[1]").c_str(), "an array of 2");
  for (const char* entry : {"11", "-1", "0.5", "1e99", "\"1\"", "true", "[]"})
    refused(with(concat("[", entry, ", null]").c_str()).c_str(), "entry 0");
  refused(with("[1, 2]").c_str(), "layer 1 routed there and has no router here");
  refused(with("[null, null]").c_str(), "layer 0 has a router here and had none there");
}

}  // namespace
}  // namespace l2a
