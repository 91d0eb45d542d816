// How well routers pick the tokens that need their long reads, on text that they were not fitted to.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace l2a {

// Of one layer, by token: what its long read would change, and its router's logit.
struct RoutedNeed {
  std::vector<float> need, logit;
};

// The value that this share of all the values is below; -infinity at 0 and infinity at 1.
float quantile(std::vector<float> values, double share);

// The chance that the logit of a token whose need is at least `needy` is above that of one whose need is less; equal
// logits count half. NaN where all tokens are of one kind.
double area_under_curve(const RoutedNeed& layer, float needy);

struct LayerQuality {
  double routed = 0;    // share of its tokens
  double need = 0;      // its share of the need of all layers
  double captured = 0;  // the share of its need that routed tokens have
  double auc = 0;  // against the tokens that an oracle would route; NaN where it routes all or none
};

// With one cut for all layers, at which `skip` of all tokens are not routed.
struct RoutingQuality {
  float cut = 0;
  double captured = 0;  // share of all need that the routed have
  double oracle = 0;    // the same where the needy are routed
  std::vector<LayerQuality> layers;
};
RoutingQuality routing_quality(std::span<const RoutedNeed> layers, double skip);

// What share of the need a share of routed tokens captures, as a plot in characters for a terminal.
std::string need_plot(std::span<const RoutedNeed> layers);

}  // namespace l2a
