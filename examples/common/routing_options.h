// How programs let users say which tokens an L2A model routes, in place of what its file says.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "examples/common/open_model.h"
#include "models/session.h"

namespace l2a {

// From 0 to 1 and no NaN, which CLI::Range lets pass.
CLI::Validator share_from_0_to_1();

// --skip and --threshold: another cut of the model's own routers.
struct CutOptions {
  std::optional<double> skip, threshold;

  // Throws Error, which names the option, for a model without routers, or with --skip for one whose are not fitted.
  std::optional<float> cut(const ModelConfig& config, const std::string& path) const;
};
void add_cut_options(CLI::App& app, CutOptions& options);

// --route: whose choice it is.
struct RouteChoice {
  enum class By { model, forced, oracle };
  By by = By::model;
  double share = 0;  // of tokens, of the last two
};
// `choice` is "model", "forced:SHARE" or, where the program has one, "oracle:SHARE".
CLI::Option* add_route_option(CLI::App& app, std::string& choice, bool has_oracle,
                              const std::string& help);
RouteChoice route_choice(const std::string& choice);

// Routes the tokens of a text whose long reads change most, over all layers, as the model with everything routed does
// them, each layer's scaled as its file says (L2aConfig::need_scales): what the best of routers would pick.
class Oracle {
 public:
  // Of a "widen" model without pruned layers, else throws Error. `session`: that the routed model will run with.
  Oracle(const ModelOptions& options, const std::shared_ptr<const GgufFile>& file,
         const SessionOptions& session, double share);

  // Reads a text. `routes` then answers for its positions.
  void read(std::span<const Token> tokens);
  bool routes(std::int64_t layer, std::int64_t position) const;

 private:
  double share_;
  std::int64_t reach_ = 0;  // positions that see every key without being routed
  std::int64_t step_;
  std::vector<float> scales_;              // by layer
  std::vector<std::vector<float>> needs_;  // by layer and position, scaled
  float cut_ = 0;
  std::unique_ptr<Session> session_;
};

}  // namespace l2a
