#include "backends/vulkan/lowering.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "backends/vulkan/kernels/attention_one.h"
#include "backends/vulkan/kernels/finish_heads.h"
#include "backends/vulkan/kernels/products.h"
#include "graph/node_run.h"
#include "ops/add.h"
#include "ops/argmax.h"
#include "ops/head_runs.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/silu_mul.h"

namespace l2a::vulkan {
namespace {

constexpr std::size_t kMostTokens = 8;
constexpr std::size_t kAlign = 256;

class Lowering : NodeRun {
 public:
  Lowering(const std::shared_ptr<Device>& device, const Graph& graph, std::span<const NodeId> nodes,
           Places& places)
      : NodeRun(graph, nodes, {}),
        device_(device),
        nodes_(nodes),
        places_(places),
        lowered_{{}, {}, LinkMemory(device)} {
    readers_here_.resize(graph.values().size());
    for (std::size_t i = 0; i < size(); ++i) {
      index_[nodes[i]] = i;
      for (const ValueId input : node(i).inputs) {
        if (input != kNoValue) ++readers_here_[static_cast<std::size_t>(graph.root(input))];
      }
    }
  }

  Lowered run() {
    for (std::size_t i = 0; i < size();) {
      std::size_t taken = 0;
      if (device_->tuning().joins) {
        taken = heads(i);
        if (taken == 0) taken = gated(i);
        if (taken == 0) taken = product(i);
        if (taken == 0) taken = norm(i);
      }
      if (taken == 0) {
        lowered_.steps.push_back({i});
        taken = 1;
      }
      i += taken;
    }
    return std::move(lowered_);
  }

 private:
  ValueId in(std::size_t i, int index) const {
    return node(i).inputs[static_cast<std::size_t>(index)];
  }
  ValueId out(std::size_t i) const { return node(i).output; }
  const ValueInfo& info(ValueId id) const { return graph().value(id).info; }
  VkDeviceAddress address(ValueId id) const { return id == kNoValue ? 0 : places_.address(id); }

  // A product that products.comp takes.
  ProductsFit fit(std::size_t i) const {
    if (op<Matmul>(i) == nullptr) return {};
    const ValueInfo &x = info(in(i, Matmul::kX)), &weight = info(in(i, Matmul::kWeight));
    if (x.shape[0] > static_cast<std::int64_t>(kMostTokens) ||
        address(in(i, Matmul::kWeight)) % 16 != 0 || address(in(i, Matmul::kX)) % 16 != 0 ||
        (weight.dtype == Dtype::q8_0 && !rows_split(*device_, graph(), in(i, Matmul::kWeight)))) {
      return {};
    }
    return products_fit(*device_, weight.dtype, row_width(x), row_count(x));
  }
  bool few(std::size_t i) const { return fit(i).tokens > 0; }
  // What product i reads: its x or, where a norm was left to it, the norm's.
  ValueId source(std::size_t i) const {
    const auto found = left_.find(in_value(i, Matmul::kX));
    return found == left_.end() ? in(i, Matmul::kX) : in(found->second, RmsNorm::kX);
  }

  // Adds the step of products of the same x, of nodes[first] on; each with where it goes, by value or in
  // own memory.
  struct Target {
    std::size_t matmul;
    ValueId to = kNoValue;
    Extent own = {};
  };
  void products(const std::vector<Target>& targets, bool is_gated, ValueId addend = kNoValue,
                ValueId most_likely = kNoValue) {
    const std::size_t i = targets.front().matmul;
    const ValueId x = source(i), rows = in(i, Matmul::kRows);
    const auto left = left_.find(in_value(i, Matmul::kX));
    const bool normed = left != left_.end();
    Step step{i, {}, {x}};
    if (rows != kNoValue) step.reads.push_back(rows);
    if (addend != kNoValue) step.reads.push_back(addend);
    for (const Target& target : targets) {
      if (target.to != kNoValue) step.writes.push_back(target.to);
      if (target.own.end > 0) step.own_writes.push_back(target.own);
    }
    Extent found;
    if (most_likely != kNoValue) {
      found = own(products_found_bytes(device_->tuning()));
      step.writes.push_back(most_likely);
      step.own_writes.push_back(found);
    }
    const std::size_t norm_node = normed ? left->second : 0;
    const NodeId producer = graph().value(graph().root(x)).producer;
    const bool late_x =
        producer != kNoNode && graph().node(producer).op->name() == Attention::kName;
    step.record = [=, this_graph = &graph(), places = &places_, id = nodes_[i],
                   norm_id = normed ? nodes_[norm_node] : kNoNode,
                   ids = matmul_ids(targets)](Recorder& recorder) {
      Products call;
      const ValueInfo& info = this_graph->value(x).info;
      call.dtype = this_graph->value(this_graph->node(id).inputs[Matmul::kWeight]).info.dtype;
      call.width = row_width(info);
      call.tokens = row_count(info);
      call.gated = is_gated;
      call.x = places->address(x);
      call.late_x = late_x;
      if (rows != kNoValue) {
        call.rows = places->address(rows);
        call.rows_id = rows;
      }
      if (norm_id != kNoNode) {
        const Node& norm = this_graph->node(norm_id);
        call.norm = places->address(norm.inputs[RmsNorm::kWeight]);
        call.eps = static_cast<const RmsNorm&>(*norm.op).eps;
      }
      if (addend != kNoValue) {
        const ValueInfo& added = this_graph->value(addend).info;
        call.addend = places->address(addend);
        call.addend_pitch = added.shape.rank() == 1 ? 0 : row_width(added);
      }
      if (most_likely != kNoValue) {
        call.most_likely = places->address(most_likely);
        call.found = found.begin;
      }
      for (std::size_t p = 0; p < ids.size(); ++p) {
        const ValueId weight = this_graph->node(ids[p]).inputs[Matmul::kWeight];
        call.each[p].weight = places->address(weight);
        call.each[p].outputs = row_count(this_graph->value(weight).info);
        call.each[p].y =
            targets[p].to != kNoValue ? places->address(targets[p].to) : targets[p].own.begin;
      }
      record_products(recorder, call);
    };
    step.can_wait = rows == kNoValue && fit(i).stages;
    step.can_raise =
        step.can_wait && std::all_of(targets.begin(), targets.end(), [&](const Target& target) {
          return target.to == kNoValue ? target.own.end == 0 || links() : link(target.to);
        });
    lowered_.steps.push_back(std::move(step));
  }
  std::vector<NodeId> matmul_ids(const std::vector<Target>& targets) const {
    std::vector<NodeId> ids;
    ids.reserve(targets.size());
    for (const Target& target : targets) ids.push_back(nodes_[target.matmul]);
    return ids;
  }

  // Memory of our own, with zeros.
  Extent own(std::size_t bytes) {
    lowered_.memory.push_back(std::make_unique<Memory>(device_, bytes, Memory::Kind::device));
    const VkDeviceAddress at = lowered_.memory.back()->address();
    return {at, at + bytes};
  }

  // Such memory from node `first` to node `last`.
  Extent take(std::size_t bytes, std::size_t first, std::size_t last) {
    for (Slot& slot : slots_) {
      const bool free = std::all_of(slot.uses.begin(), slot.uses.end(), [&](const auto& use) {
        return use.second < first || last < use.first;
      });
      if (!free || slot.at.end - slot.at.begin < bytes) continue;
      slot.uses.emplace_back(first, last);
      return {slot.at.begin, slot.at.begin + bytes};
    }
    slots_.push_back({own(bytes), {{first, last}}});
    return slots_.back().at;
  }

  bool links() const { return device_->tuning().links; }
  // Moves a value that a linked step writes to where nothing else lies, if it can be moved.
  bool link(ValueId value) {
    const ValueId root = graph().root(value);
    const auto producer = index_.find(graph().value(root).producer);
    if (!links() || graph().value(root).kind != ValueKind::computed || producer == index_.end() ||
        readers(producer->second) != readers_here_[static_cast<std::size_t>(root)]) {
      return false;
    }
    places_.move(root, lowered_.linked.take(graph().root_bytes(root)).begin);
    linked_.insert(root);
    return true;
  }

  // Moves what only product i reads, and what a node here computes, to memory of our own.
  void move_source(std::size_t i) {
    const ValueId root = graph().root(source(i));
    const Value& value = graph().value(root);
    const auto producer = index_.find(value.producer);
    if (linked_.contains(root) || value.kind != ValueKind::computed || producer == index_.end() ||
        readers(producer->second) != 1 || producer->second >= i) {
      return;
    }
    // A step that writes it may have begun two nodes before (gated).
    const std::size_t first = std::max<std::size_t>(producer->second, 2) - 2;
    const Extent to = take(graph().root_bytes(root), first, i);
    places_.move(root, to.begin);
  }

  std::size_t product(std::size_t i) {
    if (!few(i)) return 0;
    move_source(i);
    const Extent x = places_.extent(source(i));
    if (op<Add>(i + 1) != nullptr && in_value(i + 1, Add::kRows) == in_value(i, Matmul::kRows)) {
      const Extent to = places_.extent(out(i + 1));
      for (const int side : {Add::kA, Add::kB}) {
        const ValueId other = in(i + 1, side == Add::kA ? Add::kB : Add::kA);
        const Extent added = places_.extent(other);
        // In place is good: an element is read by whoever writes it.
        const bool apart = !to.overlaps(x) && (!to.overlaps(added) || to.begin == added.begin);
        const bool row = info(other).shape.rank() == 1;
        if (feeds_only(i, i + 1, side) && apart && (!row || side == Add::kA)) {
          products({{i, out(i + 1)}}, false, other);
          return 2;
        }
      }
    }
    const bool finds = op<Argmax>(i + 1) != nullptr && in(i + 1, Argmax::kX) == out(i) &&
                       row_count(info(out(i))) == 1 && in(i, Matmul::kRows) == kNoValue;
    products({{i, out(i)}}, false, kNoValue, finds ? out(i + 1) : kNoValue);
    return finds ? 2 : 1;
  }

  std::size_t gated(std::size_t i) {
    const std::size_t up = i + 1, silu = i + 2;
    if (!few(i) || !few(up) || op<SiluMul>(silu) == nullptr || !same_activations(*this, i, up))
      return 0;
    const ValueInfo &a = info(in(i, Matmul::kWeight)), &b = info(in(up, Matmul::kWeight));
    if (a.dtype != b.dtype || a.shape != b.shape || !feeds_only(i, silu, SiluMul::kGate) ||
        !feeds_only(up, silu, SiluMul::kUp) ||
        places_.extent(out(silu)).overlaps(places_.extent(source(i)))) {
      return 0;
    }
    products({{i, out(silu)}, {up}}, true);
    return 3;
  }

  // Leaves a norm to the products that read it.
  std::size_t norm(std::size_t i) {
    const auto* rms_norm = op<RmsNorm>(i);
    if (rms_norm == nullptr || info(out(i)).shape.rank() != 2 ||
        address(in(i, RmsNorm::kX)) % 16 != 0 || address(in(i, RmsNorm::kWeight)) % 16 != 0) {
      return 0;
    }
    int found = 0;
    std::size_t last = i;
    for (std::size_t j = i + 1; j < size() && found < readers(i); ++j) {
      if (op<Matmul>(j) == nullptr || in_value(j, Matmul::kX) != out_value(i)) continue;
      if (!fit(j).stages || address(in(j, Matmul::kX)) != address(out(i)) ||
          info(in(j, Matmul::kX)).shape != info(out(i)).shape ||
          in_value(j, Matmul::kRows) != in_value(i, RmsNorm::kRows)) {
        return 0;
      }
      ++found;
      last = j;
    }
    if (found == 0 || found != readers(i)) return 0;
    // What it reads must still be there; a product may write what two nodes later would.
    const Extent x = places_.extent(in(i, RmsNorm::kX));
    for (std::size_t j = i + 1; j < std::min(last + 3, size()); ++j) {
      if (places_.extent(out(j)).overlaps(x)) return 0;
    }
    left_[out_value(i)] = i;
    return 1;
  }

  // Keys, values, both appends and, of the same x, queries.
  std::size_t heads(std::size_t i) {
    const auto run = match_heads(*this, i);
    if (!run || !few(i) || !few(run->value.matmul)) return 0;
    const ProjectionRun &key = run->key, &value = run->value;
    const std::size_t first = run->append_key, second = run->append_value;
    if (info(out(first)).dtype != info(out(second)).dtype ||
        dtype_info(info(out(first)).dtype).quantized) {
      return 0;
    }
    const auto query = run->query && few(run->query->matmul) ? run->query : std::nullopt;
    std::size_t end = query ? query->end() : second + 1;
    const Attention* attention = query ? attention_of(end, query->last, first, second) : nullptr;

    // Products of one type go together, into memory of our own: what lies between nodes may share its own.
    std::vector<const ProjectionRun*> parts = {&key, &value};
    if (query) parts.push_back(&*query);
    std::vector<Extent> outs;
    for (const ProjectionRun* part : parts) {
      const std::size_t bytes = dtype_bytes(Dtype::f32, info(out(part->matmul)).shape.elements());
      outs.push_back(links() ? lowered_.linked.take(bytes)
                             : take((bytes + kAlign - 1) / kAlign * kAlign, i, end));
    }
    std::vector<bool> done(parts.size());
    for (std::size_t p = 0; p < parts.size(); ++p) {
      if (done[p]) continue;
      const Dtype dtype = info(in(parts[p]->matmul, Matmul::kWeight)).dtype;
      std::vector<Target> together;
      for (std::size_t other = p; other < parts.size(); ++other) {
        if (info(in(parts[other]->matmul, Matmul::kWeight)).dtype != dtype) continue;
        together.push_back({parts[other]->matmul, kNoValue, outs[other]});
        done[other] = true;
      }
      products(together, false);
    }

    FinishHeads call;
    const ValueInfo& cache = info(out(first));
    call.tokens = row_count(info(in(i, Matmul::kX)));
    call.key_heads = static_cast<std::uint32_t>(cache.shape[1]);
    call.dim = static_cast<std::uint32_t>(cache.shape[2]);
    call.eps = eps_of(key.norm != kNone || !query ? key : *query);
    call.half = op<Rope>(key.rope)->pairing == RopePairing::half;
    call.cache = cache.dtype;
    call.capacity = row_count(cache);
    call.sinks = static_cast<std::uint32_t>(op<KvAppend>(first)->sinks);
    call.key = part_of(key, outs[0]);
    call.value = part_of(value, outs[1]);
    if (query) {
      call.query = part_of(*query, outs[2]);
      call.query_heads = static_cast<std::uint32_t>(info(out(query->last)).shape[1]);
    }
    const ValueId table = in(key.rope, Rope::kTable), positions = in(first, KvAppend::kPositions);
    const ValueId keys = out(first), values = out(second);
    Step step{key.last, {}, {table, positions}, {keys, values}, outs};
    const auto place = [=, places = &places_](FinishHeads& heads) {
      heads.table = places->address(table);
      heads.positions = places->address(positions);
      heads.keys = places->address(keys);
      heads.values = places->address(values);
    };
    AttentionOne one;
    if (attention != nullptr) one = {call, attention->options};
    if (attention != nullptr && attention_one_fits(*device_, one) && address(keys) % 16 == 0 &&
        address(values) % 16 == 0 && address(out(end)) % 16 == 0) {
      const Extent counted = parts_of(attention_one_bytes(device_->tuning(), one));
      one.parts = counted.begin;
      const ValueId y = out(end);
      step.node = end;
      step.writes.push_back(y);
      step.own_writes.push_back(counted);
      step.can_wait = true;
      step.can_raise = link(y);
      step.record = [=, places = &places_](Recorder& recorder) {
        AttentionOne placed = one;
        place(placed.heads);
        placed.y = places->address(y);
        record_attention_one(recorder, placed);
      };
      ++end;
    } else {
      const ValueId query_out = query ? out(query->last) : kNoValue;
      if (query) step.writes.push_back(query_out);
      step.record = [=, places = &places_](Recorder& recorder) {
        FinishHeads placed = call;
        place(placed);
        if (query_out != kNoValue) placed.query_out = places->address(query_out);
        record_finish_heads(recorder, placed);
      };
    }
    lowered_.steps.push_back(std::move(step));
    return end - i;
  }

  static constexpr std::size_t kNone = ProjectionRun::kNone;
  float eps_of(const ProjectionRun& run) const {
    return run.norm == kNone ? 0 : op<RmsNorm>(run.norm)->eps;
  }
  // What finishes a projection whose product is at `products`.
  FinishHeads::Part part_of(const ProjectionRun& run, const Extent& products) const {
    return {products.begin, run.bias == kNone ? 0 : address(in(run.bias, Add::kB)),
            run.norm == kNone ? 0 : address(in(run.norm, RmsNorm::kWeight))};
  }

  // Node i, if it is the attention of all tokens with these queries and nothing but the two caches.
  const Attention* attention_of(std::size_t i, std::size_t query, std::size_t append_key,
                                std::size_t append_value) const {
    const auto* attention = op<Attention>(i);
    const auto reads = [&](Attention::Input input, std::size_t producer) {
      return in_value(i, input) == out_value(producer) &&
             address(in(i, input)) == address(out(producer)) &&
             info(in(i, input)).shape == info(out(producer)).shape;
    };
    if (attention == nullptr || !feeds_only(query, i, Attention::kQuery) ||
        !reads(Attention::kKeys, append_key) || !reads(Attention::kValues, append_value) ||
        in_value(i, Attention::kPositions) != in_value(append_key, KvAppend::kPositions)) {
      return nullptr;
    }
    for (const auto absent :
         {Attention::kFreshKeys, Attention::kFreshValues, Attention::kWideRows, Attention::kRows}) {
      if (in(i, absent) != kNoValue) return nullptr;
    }
    return attention;
  }

  // Memory of our own that attentions leave as they found it, with zeros where they count. Linked ones have one each.
  Extent parts_of(std::size_t bytes) {
    if (links() || parts_.end - parts_.begin < bytes) parts_ = own(bytes);
    return {parts_.begin, parts_.begin + bytes};
  }

  struct Slot {
    Extent at;
    std::vector<std::pair<std::size_t, std::size_t>> uses;  // from a node to a node
  };

  const std::shared_ptr<Device>& device_;
  std::span<const NodeId> nodes_;
  Places& places_;
  std::vector<int> readers_here_;  // by root value: among our nodes
  std::map<NodeId, std::size_t> index_;
  std::map<ValueId, std::size_t> left_;  // norms, by their root, that products apply
  std::set<ValueId>
      linked_;  // roots that were moved to where what passes between linked steps lies
  std::vector<Slot> slots_;
  Extent parts_ = {};
  Lowered lowered_;
};

}  // namespace

Lowered lower(const std::shared_ptr<Device>& device, const Graph& graph,
              std::span<const NodeId> nodes, Places& places) {
  return Lowering(device, graph, nodes, places).run();
}

}  // namespace l2a::vulkan
