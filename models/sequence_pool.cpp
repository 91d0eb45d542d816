#include "models/sequence_pool.h"

#include <algorithm>
#include <numeric>

#include "graph/error.h"

namespace l2a {
namespace {

// Plans kept at a time. Of single sequences: decode, full chunks with and without logits, and the tail of a prompt. Of
// batches: as the slots that step together change when sequences come and go, and some of them again.
constexpr std::size_t kPlansOfOne = 4, kPlansOfBatches = 8;

// Uniform in [0, 1), the same for a layer and a position always (splitmix64).
float draw(std::uint64_t layer, std::uint64_t position) {
  std::uint64_t x = (layer << 32 | position) + 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  x ^= x >> 31;
  return static_cast<float>(x >> 40) / static_cast<float>(1 << 24);
}

std::vector<std::shared_ptr<Backend>> joined(std::shared_ptr<Backend> first,
                                             std::vector<std::shared_ptr<Backend>> rest) {
  rest.insert(rest.begin(), std::move(first));
  return rest;
}

SessionOptions resolved(SessionOptions options, const ModelConfig& config, std::int64_t slots) {
  if (slots < 1) throw Error(concat("a pool has at least 1 slot, not ", slots));
  if (options.context == 0) options.context = config.context;
  if (options.chunk < 1)
    throw Error(concat("a prefill chunk has at least 1 token, not ", options.chunk));
  if (options.candidates < 0)
    throw Error(concat("candidates are 0 or more, not ", options.candidates));
  if (options.forced_share && !(*options.forced_share >= 0 && *options.forced_share <= 1)) {
    throw Error(concat("a routed share is from 0 to 1, not ", *options.forced_share));
  }
  if (options.narrowing) {
    if (slots > 1) throw Error("narrowing is shown of one sequence, not of several");
    if (options.narrowing->window < 1 || options.narrowing->sinks < 0)
      throw Error("a window has at least 1 token, and sinks are 0 or more");
    const bool every_key = !config.l2a || (config.l2a->mode == L2aMode::widen &&
                                           config.l2a->routed_layers() == config.layers);
    if (!every_key)
      throw Error("only a dense model, or one that widens in every layer, has every layer's keys");
  }
  return options;
}

// From which draw on a token is routed, where routes are forced.
std::optional<float> forced_cut(const SessionOptions& options) {
  if (options.forced_routes) return 0.5f;
  // Draws are in [0, 1).
  if (options.forced_share) return static_cast<float>(1 - *options.forced_share);
  return std::nullopt;
}

}  // namespace

SequencePool::SequencePool(std::shared_ptr<const Model> model, std::shared_ptr<Backend> backend,
                           std::vector<std::shared_ptr<Backend>> fallbacks,
                           const SessionOptions& options, std::int64_t slots)
    : model_(std::move(model)),
      backends_(joined(std::move(backend), std::move(fallbacks))),
      options_(resolved(options, model_->config(), slots)),
      caches_(model_->config(), model_->placement(), options_.cache_dtype, options_.context, slots),
      slots_(static_cast<std::size_t>(slots)) {
  const ModelConfig& config = model_->config();
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.routes(layer)) continue;
    Backend& home = model_->placement().layer(layer);
    auto& counters = tally_[&home];
    if (!counters) {
      counters = home.allocate(static_cast<std::size_t>(slots * config.l2a->routed_layers()) *
                               sizeof(std::int32_t));
    }
  }
}

std::string SequencePool::named(std::int64_t slot) const {
  return slots() > 1 ? concat("slot ", slot, ": ") : std::string();
}

const SequencePool::Slot& SequencePool::checked(std::int64_t slot) const {
  if (slot < 0 || slot >= slots()) {
    throw Error(
        concat("there is no slot ", slot, ": a pool of ", slots(), " has 0 to ", slots() - 1));
  }
  return slots_[static_cast<std::size_t>(slot)];
}

std::int64_t SequencePool::position(std::int64_t slot) const { return checked(slot).position; }

CacheBytes SequencePool::cache_bytes(std::int64_t slot) const {
  return l2a::cache_bytes(model_->config(), options_.cache_dtype, position(slot));
}

std::size_t SequencePool::arena_bytes() const {
  std::size_t bytes = 0;
  for (const Plans* plans : {&of_one_, &of_batches_})
    for (const auto& entry : *plans) bytes += entry->plan.arena_bytes();
  return bytes;
}

void SequencePool::require_room(std::int64_t slot, std::int64_t count) const {
  const std::int64_t used = position(slot);
  if (count > context() - used) {
    throw Error(concat(named(slot), count, count == 1 ? " token does" : " tokens do",
                       " not fit: the context holds ", context(), " and ", used, " are in use"));
  }
}

void SequencePool::require_known(std::int64_t slot, std::span<const Token> tokens) const {
  if (tokens.empty()) throw Error(concat(named(slot), "a step needs at least one token"));
  const std::int64_t vocabulary = model_->config().vocabulary;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocabulary) {
      throw Error(concat(named(slot), "token ", i, " is ", tokens[i],
                         ", outside the vocabulary of ", vocabulary));
    }
  }
}

SequencePool::Compiled& SequencePool::compiled(std::span<const std::int64_t> slots,
                                               std::int64_t tokens, LogitsOf logits) {
  Plans& plans = slots.size() > 1 ? of_batches_ : of_one_;
  auto same = [&](const auto& entry) {
    const DecoderRequest& request = entry->request;
    return request.tokens == tokens && request.logits == logits &&
           std::ranges::equal(request.sequences, slots);
  };
  auto found = std::find_if(plans.begin(), plans.end(), same);
  if (found == plans.end()) {
    // Least recently used first; its arena goes before the new one comes.
    if (plans.size() == (slots.size() > 1 ? kPlansOfBatches : kPlansOfOne))
      plans.erase(plans.begin());
    const DecoderRequest request{tokens,
                                 {slots.begin(), slots.end()},
                                 logits,
                                 options_.keep_routes,
                                 options_.keep_everything,
                                 forced_cut(options_),
                                 options_.router_cut,
                                 static_cast<bool>(options_.observe_matmul),
                                 options_.candidates,
                                 options_.narrowing};
    DecoderGraph decoder = build_decoder(*model_, caches_, tally_, request);
    Plan plan(decoder.graph, backends_);
    plans.push_back(
        std::make_unique<Compiled>(Compiled{request, std::move(decoder), std::move(plan)}));
  } else {
    std::rotate(found, found + 1, plans.end());
  }
  return *plans.back();
}

SequencePool::Compiled& SequencePool::stepping(std::span<const std::int64_t> slots) {
  return compiled(slots, static_cast<std::int64_t>(slots.size()),
                  slots.size() > 1 ? LogitsOf::all : LogitsOf::last);
}

const Plan& SequencePool::plan(std::int64_t slot, std::int64_t tokens, LogitsOf logits) {
  checked(slot);
  return compiled({&slot, 1}, tokens, logits).plan;
}

const Plan& SequencePool::plan(std::span<const std::int64_t> slots) {
  require_ascending(slots);
  return stepping(slots).plan;
}

void SequencePool::write_draws(Compiled& entry) {
  const ModelConfig& config = model_->config();
  draws_.clear();
  std::uint64_t router = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.routes(layer)) continue;
    for (const std::int32_t position : positions_) {
      draws_.push_back(options_.forced_routes
                           ? static_cast<float>(options_.forced_routes(layer, position))
                           : draw(router, static_cast<std::uint64_t>(position)));
    }
    ++router;
  }
  const float one = 1;
  entry.plan.write(entry.decoder.draws, std::span<const float>(draws_));
  entry.plan.write(entry.decoder.draw_weight, std::span<const float>(&one, 1));
}

void SequencePool::write_places(Compiled& entry) {
  const auto write = [&](const CacheLayout& layout, Tensor to) {
    places_.clear();
    for (std::size_t i = 0; i < positions_.size(); ++i)
      places_.push_back(layout.place(entry.request.sequences[i], positions_[i]));
    entry.plan.write(to, std::span<const std::int32_t>(places_));
  };
  write(caches_.every(), entry.decoder.places.every);
  if (caches_.ring().ring) write(caches_.ring(), entry.decoder.places.ring);
}

void SequencePool::run_timed(Compiled& entry) {
  const std::vector<std::int64_t>& sequences = entry.request.sequences;
  const auto counted = [&] {
    RoutingStats all;
    for (const std::int64_t slot : sequences) all += routing(slot);
    return all;
  };
  const RoutingStats before = counted();
  PlanTimes times;
  entry.plan.run(times);
  RoutingStats step = RoutingStats::between(before, counted());
  step.tokens = entry.request.tokens;
  // Attention's cost goes with the positions: of a batch, their mean has that of all.
  std::int64_t context = 0;
  for (const std::int64_t slot : sequences) context += at(slot).position;
  context /= static_cast<std::int64_t>(sequences.size());
  const std::int64_t each = entry.request.tokens / static_cast<std::int64_t>(sequences.size());
  add_times(*op_times_, entry.plan.graph(), times, {context + each, step.share()});
}

Evaluation SequencePool::run_compiled(Compiled& entry, std::span<const Token> tokens) {
  const DecoderRequest& request = entry.request;
  const std::int64_t each = request.batched() ? 1 : request.tokens;
  positions_.clear();
  for (const std::int64_t slot : request.sequences) {
    for (std::int64_t i = 0; i < each; ++i)
      positions_.push_back(static_cast<std::int32_t>(at(slot).position + i));
  }
  entry.plan.write(entry.decoder.tokens, tokens);
  entry.plan.write(entry.decoder.positions, std::span<const std::int32_t>(positions_));
  if (request.batched()) write_places(entry);
  if (entry.decoder.draws) write_draws(entry);
  if (op_times_ != nullptr) {
    run_timed(entry);
  } else {
    entry.plan.run();
  }
  for (const std::int64_t slot : request.sequences) {
    at(slot).position += each;
    at(slot).filled = std::max(at(slot).filled, at(slot).position);
  }
  results_.begin(entry.plan, entry.decoder);
  if (options_.observe_matmul) show_matmul_inputs(entry);
  if (options_.observe_narrowed) show_narrowed(entry);
  const std::size_t rows = request.logits == LogitsOf::none  ? 0
                           : request.logits == LogitsOf::all ? tokens.size()
                                                             : 1;
  return {results_, rows};
}

Evaluation SequencePool::run(std::int64_t slot, std::span<const Token> tokens, LogitsOf logits) {
  require_known(slot, tokens);
  const auto count = static_cast<std::int64_t>(tokens.size());
  require_room(slot, count);
  return run_compiled(compiled({&slot, 1}, count, logits), tokens);
}

Evaluation SequencePool::prefill(std::int64_t slot, std::span<const Token> tokens,
                                 const std::function<bool(std::int64_t)>& progress) {
  require_known(slot, tokens);
  require_room(slot, static_cast<std::int64_t>(tokens.size()));
  const auto chunk = static_cast<std::size_t>(options_.chunk);
  Evaluation result;
  for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const std::size_t count = std::min(chunk, tokens.size() - begin);
    const bool last = begin + count == tokens.size();
    result = run(slot, tokens.subspan(begin, count), last ? LogitsOf::last : LogitsOf::none);
    if (progress && !progress(static_cast<std::int64_t>(begin + count)) && !last) return {};
  }
  return result;
}

Evaluation SequencePool::step(std::span<const SlotToken> entries) {
  batch_.clear();
  tokens_.clear();
  for (const SlotToken& entry : entries) {
    batch_.push_back(entry.slot);
    tokens_.push_back(entry.token);
  }
  require_ascending(batch_);
  for (const SlotToken& entry : entries) {
    require_known(entry.slot, {&entry.token, 1});
    require_room(entry.slot, 1);
  }
  return run_compiled(stepping(batch_), tokens_);
}

void SequencePool::require_ascending(std::span<const std::int64_t> slots) const {
  if (slots.empty()) throw Error("a step needs at least one sequence");
  for (std::size_t i = 0; i < slots.size(); ++i) {
    checked(slots[i]);
    if (i > 0 && slots[i] <= slots[i - 1]) {
      throw Error(concat("slot ", slots[i], " comes after slot ", slots[i - 1],
                         ": a step takes each slot once, in ascending order"));
    }
  }
}

void SequencePool::show_narrowed(const Compiled& entry) {
  NarrowedAttention shown;
  shown.first = positions_.front();
  shown.hidden = model_->config().hidden;
  for (const NarrowedLayer& layer : entry.decoder.narrowed) {
    const std::array tensors = {layer.x, layer.h, layer.all, layer.narrow};
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      narrowed_[i].resize(static_cast<std::size_t>(entry.request.tokens * shown.hidden));
      entry.plan.read(tensors[i], std::span<float>(narrowed_[i]));
    }
    shown.x = narrowed_[0];
    shown.h = narrowed_[1];
    shown.all = narrowed_[2];
    shown.narrow = narrowed_[3];
    options_.observe_narrowed(shown);
    ++shown.layer;
  }
}

void SequencePool::show_matmul_inputs(const Compiled& entry) {
  std::vector<std::int32_t> list;
  for (const MatmulInput& input : entry.decoder.matmul_inputs) {
    const Shape& shape = entry.decoder.graph->value(input.values.id).info.shape;
    std::int64_t rows = shape[0];
    if (input.rows) {
      list.resize(static_cast<std::size_t>(1 + rows));
      entry.plan.read(input.rows, std::span<std::int32_t>(list));
      rows = list.front();
    }
    operand_.resize(static_cast<std::size_t>(shape.elements()));
    entry.plan.read(input.values, std::span<float>(operand_));
    const std::span<const float> values(operand_.data(),
                                        static_cast<std::size_t>(rows * shape.back()));
    options_.observe_matmul({input.weights, shape.back(), values});
  }
}

RoutingStats SequencePool::routing(std::int64_t slot) const {
  const ModelConfig& config = model_->config();
  const Slot& one = checked(slot);
  RoutingStats stats;
  stats.tokens = one.position - one.assumed;
  stats.routed.assign(static_cast<std::size_t>(config.layers), -1);
  if (tally_.empty()) return stats;
  std::map<const Backend*, std::vector<std::int32_t>> counts;
  for (const auto& [backend, buffer] : tally_) {
    std::vector<std::int32_t>& own = counts[backend];
    own.resize(static_cast<std::size_t>(config.l2a->routed_layers()));
    buffer->download(static_cast<std::size_t>(slot) * own.size() * sizeof(std::int32_t),
                     std::as_writable_bytes(std::span<std::int32_t>(own)));
  }
  std::size_t next = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.routes(layer)) continue;
    const Backend* home = &model_->placement().layer(layer);
    stats.routed[static_cast<std::size_t>(layer)] = counts.at(home)[next++];
  }
  return stats;
}

void SequencePool::reset(std::int64_t slot) {
  checked(slot);
  at(slot).position = at(slot).assumed = 0;
  for (const auto& [backend, buffer] : tally_) {
    const std::size_t bytes = buffer->bytes() / slots_.size();
    buffer->upload(static_cast<std::size_t>(slot) * bytes, std::vector<std::byte>(bytes));
  }
}

void SequencePool::assume(std::int64_t slot, std::int64_t position) {
  reset(slot);
  require_room(slot, position);
  Slot& one = at(slot);
  caches_.fill(slot, one.filled, position);
  one.filled = std::max(one.filled, position);
  one.position = one.assumed = position;
}

}  // namespace l2a
