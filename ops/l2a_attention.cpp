#include "ops/l2a_attention.h"

#include "ops/add.h"
#include "ops/check.h"
#include "ops/gather_rows.h"
#include "ops/route.h"
#include "ops/scatter_add_rows.h"

namespace l2a {

L2aResult l2a_attention(GraphBuilder& graph, Tensor x, Tensor h, const AttentionBlock& block,
                        const L2aRouter& router, const TokenInputs& tokens,
                        const L2aOptions& options) {
  require(!block.cache.ring,
          "l2a_attention: routed tokens read every key, so their cache cannot be a ring");
  const Tensor asked = router.input ? router.input : h;
  const Rows rows = route(graph, asked, router.weight, router.bias, options.cut);
  if (options.mode == L2aMode::widen) {
    require(options.window > 0, "l2a_attention: widening needs a window");
    const AttentionSpan span{options.window, options.sinks, rows};
    return {add(graph, x, self_attention(graph, h, h, block, tokens, span)), rows};
  }
  const Tensor routed = gather_rows(graph, h, rows);
  const Tensor delta = self_attention(graph, routed, h, block, tokens, {});
  return {scatter_add_rows(graph, x, delta), rows};
}

}  // namespace l2a
