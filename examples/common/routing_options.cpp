#include "examples/common/routing_options.h"

#include <algorithm>
#include <cmath>

#include "examples/common/router_fit.h"
#include "examples/common/router_quality.h"
#include "graph/error.h"
#include "ops/route.h"

namespace l2a {

std::optional<float> CutOptions::cut(const ModelConfig& config, const std::string& path) const {
  if (!skip && !threshold) return std::nullopt;
  const char* const name = skip ? "--skip" : "--threshold";
  try {
    if (!config.l2a || config.l2a->routed_layers() == 0) throw Error("the model has no router");
    return skip ? config.l2a->cut_for_skip(*skip) : router_cut(config.l2a->temperature, *threshold);
  } catch (const Error& error) {
    throw Error(concat(name, ": ", path, ": ", error.what()));
  }
}

CLI::Validator share_from_0_to_1() {
  return {[](std::string& text) {
            double share = -1;
            return CLI::detail::lexical_cast(text, share) && share >= 0 && share <= 1
                       ? std::string()
                       : concat("'", text, "' is not a share from 0 to 1");
          },
          ""};
}

void add_cut_options(CLI::App& app, CutOptions& options) {
  auto* skip = app.add_option("--skip", options.skip,
                              "Of a model that l2a-fit-router made: the share of tokens, over all\n"
                              "layers, not to route; by default what it was fitted with")
                   ->check(share_from_0_to_1())
                   ->option_text("SHARE");
  app.add_option("--threshold", options.threshold,
                 "The routers' threshold in place of the model's, between 0 and 1")
      ->check(share_from_0_to_1())
      ->excludes(skip)
      ->option_text("X");
}

RouteChoice route_choice(const std::string& choice) {
  RouteChoice result;
  if (choice == "model") return result;
  result.by = choice.starts_with("oracle:") ? RouteChoice::By::oracle : RouteChoice::By::forced;
  CLI::detail::lexical_cast(choice.substr(choice.find(':') + 1), result.share);
  return result;
}

CLI::Option* add_route_option(CLI::App& app, std::string& choice, bool has_oracle,
                              const std::string& help) {
  const auto check = [has_oracle](std::string& text) {
    const std::size_t colon = text.find(':');
    const std::string by = text.substr(0, colon);
    double share = -1;
    if (text == "model" ||
        (colon != std::string::npos && (by == "forced" || (has_oracle && by == "oracle")) &&
         CLI::detail::lexical_cast(text.substr(colon + 1), share) && share >= 0 && share <= 1))
      return std::string();
    return concat("'", text, "' is neither model nor forced:SHARE",
                  has_oracle ? " nor oracle:SHARE" : "", " with a share from 0 to 1");
  };
  return app.add_option("--route", choice, help)
      ->check(CLI::Validator(check, ""))
      ->option_text(has_oracle ? "model|forced:SHARE|oracle:SHARE [model]"
                               : "model|forced:SHARE [model]");
}

Oracle::Oracle(const ModelOptions& options, const std::shared_ptr<const GgufFile>& file,
               const SessionOptions& session, double share)
    : share_(share), step_(session.chunk) {
  const ModelConfig config = ModelConfig::from_gguf(*file);
  if (!config.l2a || config.l2a->mode != L2aMode::widen ||
      config.l2a->routed_layers() != config.layers) {
    throw Error(
        concat("--route oracle: ", options.path, ": is no L2A model that widens in every layer"));
  }
  reach_ = config.l2a->window + config.l2a->sinks;
  scales_.assign(static_cast<std::size_t>(config.layers), 1);
  for (std::size_t i = 0; i < config.l2a->need_scales.size(); ++i)
    scales_[i] = static_cast<float>(std::exp(config.l2a->need_scales[i]));
  needs_.resize(static_cast<std::size_t>(config.layers));
  SessionOptions measuring;
  measuring.context = session.context;
  measuring.chunk = session.chunk;
  measuring.cache_dtype = session.cache_dtype;
  measuring.narrowing = {config.l2a->window, config.l2a->sinks};
  measuring.observe_narrowed = [this](const NarrowedAttention& step) {
    const auto layer = static_cast<std::size_t>(step.layer);
    for (const float need : attention_need(step)) needs_[layer].push_back(scales_[layer] * need);
  };
  session_ = open_session(options, file, measuring, LogitsOf::none);
}

void Oracle::read(std::span<const Token> tokens) {
  session_->reset();
  for (std::vector<float>& layer : needs_) layer.clear();
  const auto step = static_cast<std::size_t>(step_);
  for (std::size_t begin = 0; begin < tokens.size(); begin += step)
    session_->step(tokens.subspan(begin, std::min(step, tokens.size() - begin)), LogitsOf::none);
  std::vector<float> far;
  for (const std::vector<float>& layer : needs_) {
    const auto first = std::min(static_cast<std::size_t>(reach_), layer.size());
    far.insert(far.end(), layer.begin() + static_cast<std::ptrdiff_t>(first), layer.end());
  }
  cut_ = quantile(std::move(far), 1 - share_);
}

bool Oracle::routes(std::int64_t layer, std::int64_t position) const {
  return position >= reach_ &&
         needs_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(position)] >= cut_;
}

}  // namespace l2a
