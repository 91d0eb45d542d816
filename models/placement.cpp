#include "models/placement.h"

#include <algorithm>

namespace l2a {

std::vector<Backend*> Placement::backends() const {
  std::vector<Backend*> each;
  auto add = [&](Backend* backend) {
    if (std::find(each.begin(), each.end(), backend) == each.end()) each.push_back(backend);
  };
  for (const auto& backend : layers) add(backend.get());
  add(outer.get());
  return each;
}

Placement split_layers(std::int64_t layers, std::int64_t count, std::shared_ptr<Backend> device,
                       const std::shared_ptr<Backend>& host) {
  if (count > layers) return {std::move(device), {}};
  Placement placement{host, {}};
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    placement.layers.push_back(layer < layers - count ? host : device);
  }
  return placement;
}

}  // namespace l2a
