// What a layer's long reads are worth to what the model predicts: the same need matters more in one layer than in another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "examples/common/open_model.h"
#include "examples/common/router_fit.h"
#include "graph/thread_pool.h"
#include "models/session.h"

namespace l2a {

// Of one layer: what narrowing it alone does to the predictions, and the needs of the positions that were compared.
struct LayerEffect {
  double divergence = 0;  // the mean KL(all keys || narrowed), in nats
  std::vector<float> needs;
};

// Measured on `pieces` of text, each read as often as there are layers and twice more. The last positions of each are
// compared, at most kEffectPositions; `window` and `sinks` are to leave something of them to narrow. `done` is told
// tokens as they are read.
inline constexpr std::int64_t kEffectPositions = 512;
std::vector<LayerEffect> layer_effects(const ModelOptions& options,
                                       const std::shared_ptr<const GgufFile>& file,
                                       const Narrowing& narrowing,
                                       std::span<const std::vector<Token>> pieces, ThreadPool& pool,
                                       const std::function<void(std::int64_t)>& done);

// Scales by which needs of all layers weigh the same: the effect of small changes grows with their square, so it is half
// the logarithm of divergence a squared need. Layers that hardly need anything are drawn to what the others have, since of
// them little can be measured. `least` is what the last of the routed needs, where `skip` of them are not.
NeedScale need_scale(std::span<const LayerEffect> effects, double skip);

}  // namespace l2a
