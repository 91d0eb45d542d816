#include "backends/vulkan/lowering.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "backends/vulkan/kernels/attention_one.h"
#include "backends/vulkan/kernels/finish_heads.h"
#include "backends/vulkan/kernels/products.h"
#include "ops/add.h"
#include "ops/argmax.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/silu_mul.h"

namespace l2a::vulkan {
namespace {

constexpr std::size_t kMostTokens = 8;
constexpr std::size_t kAlign = 256;

class Lowering {
 public:
  Lowering(const std::shared_ptr<Device>& device, const Graph& graph, std::span<const NodeId> nodes,
           Places& places)
      : device_(device),
        graph_(graph),
        nodes_(nodes),
        places_(places),
        lowered_{{}, {}, LinkMemory(device)} {
    readers_.resize(graph.values().size());
    readers_here_.resize(graph.values().size());
    for (const Node& node : graph.nodes()) {
      for (const ValueId input : node.inputs) {
        if (input != kNoValue) ++readers_[static_cast<std::size_t>(graph.root(input))];
      }
    }
    for (const Value& value : graph.values()) {
      // What the host reads has a reader that no node is.
      if (value.output) readers_[static_cast<std::size_t>(graph.root(value.info.id))] += 2;
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      index_[nodes[i]] = i;
      for (const ValueId input : node(i).inputs) {
        if (input != kNoValue) ++readers_here_[static_cast<std::size_t>(graph.root(input))];
      }
    }
  }

  Lowered run() {
    for (std::size_t i = 0; i < nodes_.size();) {
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
  const Node& node(std::size_t i) const { return graph_.node(nodes_[i]); }
  // The node's op, if it is a T.
  template <class T>
  const T* op(std::size_t i) const {
    return i < nodes_.size() && node(i).op->name() == T::kName
               ? static_cast<const T*>(node(i).op.get())
               : nullptr;
  }
  ValueId in(std::size_t i, int index) const {
    return node(i).inputs[static_cast<std::size_t>(index)];
  }
  ValueId in_root(std::size_t i, int index) const {
    const ValueId id = in(i, index);
    return id == kNoValue ? id : graph_.root(id);
  }
  ValueId out(std::size_t i) const { return node(i).output; }
  ValueId out_root(std::size_t i) const { return graph_.root(out(i)); }
  const ValueInfo& info(ValueId id) const { return graph_.value(id).info; }
  int readers(ValueId root) const { return readers_[static_cast<std::size_t>(root)]; }
  // Whether node i's output is input `index` of node j and of nothing else.
  bool feeds_only(std::size_t i, std::size_t j, int index) const {
    return in_root(j, index) == out_root(i) && readers(out_root(i)) == 1;
  }
  VkDeviceAddress address(ValueId id) const { return id == kNoValue ? 0 : places_.address(id); }

  // A product that products.comp takes.
  ProductsFit fit(std::size_t i) const {
    if (op<Matmul>(i) == nullptr) return {};
    const ValueInfo &x = info(in(i, Matmul::kX)), &weight = info(in(i, Matmul::kWeight));
    if (x.shape[0] > static_cast<std::int64_t>(kMostTokens) ||
        address(in(i, Matmul::kWeight)) % 16 != 0 || address(in(i, Matmul::kX)) % 16 != 0 ||
        (weight.dtype == Dtype::q8_0 && !rows_split(*device_, graph_, in(i, Matmul::kWeight)))) {
      return {};
    }
    return products_fit(*device_, weight.dtype, row_width(x), row_count(x));
  }
  bool few(std::size_t i) const { return fit(i).tokens > 0; }
  bool same_x(std::size_t i, std::size_t j) const {
    return address(in(i, Matmul::kX)) == address(in(j, Matmul::kX)) &&
           in_root(i, Matmul::kX) == in_root(j, Matmul::kX) &&
           in_root(i, Matmul::kRows) == in_root(j, Matmul::kRows);
  }

  // What product i reads: its x or, where a norm was left to it, the norm's.
  ValueId source(std::size_t i) const {
    const auto found = left_.find(in_root(i, Matmul::kX));
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
    const auto left = left_.find(in_root(i, Matmul::kX));
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
    const NodeId producer = graph_.value(graph_.root(x)).producer;
    const bool late_x = producer != kNoNode && graph_.node(producer).op->name() == Attention::kName;
    step.record = [=, this_graph = &graph_, places = &places_, id = nodes_[i],
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
    const ValueId root = graph_.root(value);
    if (!links() || graph_.value(root).kind != ValueKind::computed ||
        index_.count(graph_.value(root).producer) == 0 ||
        readers(root) != readers_here_[static_cast<std::size_t>(root)]) {
      return false;
    }
    places_.move(root, lowered_.linked.take(graph_.root_bytes(root)).begin);
    linked_.insert(root);
    return true;
  }

  // Moves what only product i reads, and what a node here computes, to memory of our own.
  void move_source(std::size_t i) {
    const ValueId root = graph_.root(source(i));
    const Value& value = graph_.value(root);
    const auto producer = index_.find(value.producer);
    if (linked_.contains(root) || readers(root) != 1 || value.kind != ValueKind::computed ||
        producer == index_.end() || producer->second >= i) {
      return;
    }
    // A step that writes it may have begun two nodes before (gated).
    const std::size_t first = std::max<std::size_t>(producer->second, 2) - 2;
    const Extent to = take(graph_.root_bytes(root), first, i);
    places_.move(root, to.begin);
  }

  std::size_t product(std::size_t i) {
    if (!few(i)) return 0;
    move_source(i);
    const Extent x = places_.extent(source(i));
    if (op<Add>(i + 1) != nullptr && in_root(i + 1, Add::kRows) == in_root(i, Matmul::kRows)) {
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
    if (!few(i) || !few(up) || op<SiluMul>(silu) == nullptr || !same_x(i, up)) return 0;
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
    for (std::size_t j = i + 1; j < nodes_.size() && found < readers(out_root(i)); ++j) {
      if (op<Matmul>(j) == nullptr || in_root(j, Matmul::kX) != out_root(i)) continue;
      if (!fit(j).stages || address(in(j, Matmul::kX)) != address(out(i)) ||
          info(in(j, Matmul::kX)).shape != info(out(i)).shape ||
          in_root(j, Matmul::kRows) != in_root(i, RmsNorm::kRows)) {
        return 0;
      }
      ++found;
      last = j;
    }
    if (found == 0 || found != readers(out_root(i))) return 0;
    // What it reads must still be there; a product may write what two nodes later would.
    const Extent x = places_.extent(in(i, RmsNorm::kX));
    for (std::size_t j = i + 1; j < std::min(last + 3, nodes_.size()); ++j) {
      if (places_.extent(out(j)).overlaps(x)) return 0;
    }
    left_[out_root(i)] = i;
    return 1;
  }

  // A projection to heads: matmul, then where they are there bias, head norm, rope and append.
  struct Projection {
    std::size_t matmul = 0, next = 0;  // first node after it
    std::size_t last = 0;              // whose output the chain has
    ValueId bias = kNoValue, norm = kNoValue, table = kNoValue;
    const Rope* rope = nullptr;
    float eps = 0;
  };
  std::optional<Projection> projection(std::size_t i) const {
    if (!few(i) || in(i, Matmul::kRows) != kNoValue) return std::nullopt;
    Projection p;
    p.matmul = p.last = i;
    if (op<Add>(i + 1) != nullptr && feeds_only(p.last, i + 1, Add::kA) &&
        info(in(i + 1, Add::kB)).shape.rank() == 1) {
      p.bias = in(i + 1, Add::kB);
      p.last = ++i;
    }
    if (const auto* norm = op<RmsNorm>(i + 1);
        norm != nullptr && feeds_only(p.last, i + 1, RmsNorm::kX)) {
      p.norm = in(i + 1, RmsNorm::kWeight);
      p.eps = norm->eps;
      p.last = ++i;
    }
    if (const auto* rope = op<Rope>(i + 1);
        rope != nullptr && feeds_only(p.last, i + 1, Rope::kX)) {
      p.rope = rope;
      p.table = in(i + 1, Rope::kTable);
      p.last = ++i;
    }
    p.next = i + 1;
    return p;
  }

  // Keys, values, both appends and, of the same x, queries: as ops/self_attention.cpp adds them.
  std::size_t heads(std::size_t i) {
    const auto key = projection(i);
    if (!key || key->rope == nullptr) return 0;
    const auto value = projection(key->next);
    if (!value || value->rope != nullptr || value->norm != kNoValue || !same_x(i, value->matmul)) {
      return 0;
    }
    const std::size_t first = value->next, second = first + 1;
    const auto *append_key = op<KvAppend>(first), *append_value = op<KvAppend>(second);
    if (append_key == nullptr || append_value == nullptr ||
        !feeds_only(key->last, first, KvAppend::kX) ||
        !feeds_only(value->last, second, KvAppend::kX) ||
        append_key->sinks != append_value->sinks ||
        in_root(first, KvAppend::kPositions) != in_root(second, KvAppend::kPositions) ||
        info(out(first)).shape != info(out(second)).shape ||
        info(out(first)).dtype != info(out(second)).dtype ||
        dtype_info(info(out(first)).dtype).quantized) {
      return 0;
    }
    auto query = projection(second + 1);
    if (query && (query->rope == nullptr || query->table != key->table ||
                  query->rope->pairing != key->rope->pairing || !same_x(i, query->matmul) ||
                  (query->norm != kNoValue && key->norm != kNoValue && query->eps != key->eps))) {
      query.reset();
    }
    std::size_t end = query ? query->next : second + 1;
    const Attention* attention = query ? attention_of(end, query->last, first, second) : nullptr;

    // Products of one type go together, into memory of our own: what lies between nodes may share its own.
    std::vector<const Projection*> parts = {&*key, &*value};
    if (query) parts.push_back(&*query);
    std::vector<Extent> outs;
    for (const Projection* part : parts) {
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
    call.eps = key->norm != kNoValue ? key->eps : query ? query->eps : 0;
    call.half = key->rope->pairing == RopePairing::half;
    call.cache = cache.dtype;
    call.capacity = row_count(cache);
    call.sinks = static_cast<std::uint32_t>(append_key->sinks);
    call.key = {outs[0].begin, address(key->bias), address(key->norm)};
    call.value = {outs[1].begin, address(value->bias), 0};
    if (query) {
      call.query = {outs[2].begin, address(query->bias), address(query->norm)};
      call.query_heads = static_cast<std::uint32_t>(info(out(query->last)).shape[1]);
    }
    const ValueId table = key->table, positions = in(first, KvAppend::kPositions);
    const ValueId keys = out(first), values = out(second);
    Step step{key->last, {}, {table, positions}, {keys, values}, outs};
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

  // Node i, if it is the attention of all tokens with these queries and nothing but the two caches.
  const Attention* attention_of(std::size_t i, std::size_t query, std::size_t append_key,
                                std::size_t append_value) const {
    const auto* attention = op<Attention>(i);
    const auto reads = [&](Attention::Input input, std::size_t producer) {
      return in_root(i, input) == out_root(producer) &&
             address(in(i, input)) == address(out(producer)) &&
             info(in(i, input)).shape == info(out(producer)).shape;
    };
    if (attention == nullptr || !feeds_only(query, i, Attention::kQuery) ||
        !reads(Attention::kKeys, append_key) || !reads(Attention::kValues, append_value) ||
        in_root(i, Attention::kPositions) != in_root(append_key, KvAppend::kPositions)) {
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
  const Graph& graph_;
  std::span<const NodeId> nodes_;
  Places& places_;
  std::vector<int> readers_, readers_here_;  // by root value: in the graph, and among our nodes
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
