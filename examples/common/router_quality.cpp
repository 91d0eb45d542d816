#include "examples/common/router_quality.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/error.h"

namespace l2a {
namespace {

std::vector<float> joined(std::span<const RoutedNeed> layers,
                          std::vector<float> RoutedNeed::*values) {
  std::vector<float> all;
  for (const RoutedNeed& layer : layers)
    all.insert(all.end(), (layer.*values).begin(), (layer.*values).end());
  return all;
}

double sum(std::span<const float> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Shares of all need that the first tokens of an order have, at evenly spaced shares of the tokens.
std::vector<double> captured_by(std::span<const float> need, std::span<const float> order,
                                std::size_t points) {
  std::vector<std::size_t> index(need.size());
  std::iota(index.begin(), index.end(), std::size_t{0});
  std::sort(index.begin(), index.end(),
            [&](std::size_t a, std::size_t b) { return order[a] > order[b]; });
  const double total = std::max(sum(need), std::numeric_limits<double>::min());
  std::vector<double> shares;
  double taken = 0;
  std::size_t next = 0;
  for (std::size_t point = 0; point < points; ++point) {
    const std::size_t end = need.size() * point / (points - 1);
    while (next < end) taken += static_cast<double>(need[index[next++]]);
    shares.push_back(taken / total);
  }
  return shares;
}

}  // namespace

float quantile(std::vector<float> values, double share) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto below =
      static_cast<std::size_t>(std::llround(share * static_cast<double>(values.size())));
  if (below == 0) return -kInfinity;
  if (below >= values.size()) return kInfinity;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double area_under_curve(const RoutedNeed& layer, float needy) {
  std::vector<std::size_t> order(layer.logit.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return layer.logit[a] < layer.logit[b]; });
  // Over runs of equal logits: each needy token beats the others below it, and half of those beside it.
  double won = 0, others_below = 0, needy_total = 0;
  for (std::size_t begin = 0; begin < order.size();) {
    double needy_here = 0, others_here = 0;
    std::size_t end = begin;
    for (; end < order.size() && layer.logit[order[end]] == layer.logit[order[begin]]; ++end)
      (layer.need[order[end]] >= needy ? needy_here : others_here) += 1;
    won += needy_here * (others_below + others_here / 2);
    others_below += others_here;
    needy_total += needy_here;
    begin = end;
  }
  return won / (needy_total * others_below);
}

RoutingQuality routing_quality(std::span<const RoutedNeed> layers, double skip) {
  RoutingQuality quality;
  quality.cut = quantile(joined(layers, &RoutedNeed::logit), skip);
  const float needy = quantile(joined(layers, &RoutedNeed::need), skip);
  double total = 0, captured = 0, oracle = 0;
  for (const RoutedNeed& layer : layers) {
    LayerQuality of;
    double routed = 0, caught = 0;
    for (std::size_t i = 0; i < layer.need.size(); ++i) {
      const auto need = static_cast<double>(layer.need[i]);
      if (layer.need[i] >= needy) oracle += need;
      if (!(layer.logit[i] >= quality.cut)) continue;
      routed += 1;
      caught += need;
    }
    of.need = sum(layer.need);
    of.routed = routed / std::max(1.0, static_cast<double>(layer.need.size()));
    of.captured = of.need > 0 ? caught / of.need : 0;
    of.auc = area_under_curve(layer, needy);
    total += of.need;
    captured += caught;
    quality.layers.push_back(of);
  }
  if (total > 0) {
    for (LayerQuality& layer : quality.layers) layer.need /= total;
    quality.captured = captured / total;
    quality.oracle = oracle / total;
  }
  return quality;
}

std::string need_plot(std::span<const RoutedNeed> layers) {
  constexpr std::size_t kWidth = 61, kHeight = 13;
  const std::vector<float> need = joined(layers, &RoutedNeed::need);
  const std::vector<float> logit = joined(layers, &RoutedNeed::logit);
  const std::vector<double> oracle = captured_by(need, need, kWidth);
  const std::vector<double> fitted = captured_by(need, logit, kWidth);
  std::vector<std::string> rows(kHeight, std::string(kWidth, ' '));
  const auto put = [&](std::size_t x, double share, char mark) {
    const auto y = static_cast<std::size_t>(
        std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(kHeight - 1)));
    rows[kHeight - 1 - y][x] = mark;
  };
  for (std::size_t x = 0; x < kWidth; ++x) {
    put(x, static_cast<double>(x) / static_cast<double>(kWidth - 1), '.');
    put(x, oracle[x], 'o');
    put(x, fitted[x], '*');
  }
  std::string text = "need captured    * fitted   o oracle   . random\n";
  for (std::size_t y = 0; y < kHeight; ++y) {
    text += y == 0             ? "100% |"
            : y == kHeight / 2 ? " 50% |"
            : y == kHeight - 1 ? "  0% |"
                               : "     |";
    text += rows[y].substr(0, rows[y].find_last_not_of(' ') + 1) + "\n";
  }
  text += "      0%            tokens routed, of all layers           100%\n";
  return text;
}

}  // namespace l2a
