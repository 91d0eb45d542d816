#include "models/session.h"

#include <algorithm>
#include <numeric>

#include "graph/error.h"

namespace l2a {
namespace {

// Plans kept at a time: decode, full chunks with and without logits, and the tail of a prompt.
constexpr std::size_t kMaxPlans = 4;

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

SessionOptions resolved(SessionOptions options, const ModelConfig& config) {
  if (options.context == 0) options.context = config.context;
  if (options.chunk < 1)
    throw Error(concat("a prefill chunk has at least 1 token, not ", options.chunk));
  if (options.candidates < 0)
    throw Error(concat("candidates are 0 or more, not ", options.candidates));
  if (options.forced_share && !(*options.forced_share >= 0 && *options.forced_share <= 1)) {
    throw Error(concat("a routed share is from 0 to 1, not ", *options.forced_share));
  }
  if (options.narrowing) {
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

double RoutingStats::share() const {
  std::int64_t sum = 0, layers = 0;
  for (const std::int64_t count : routed) {
    if (count < 0) continue;
    sum += count;
    ++layers;
  }
  return layers * tokens == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(layers * tokens);
}

bool RoutingStats::has_router() const {
  return std::any_of(routed.begin(), routed.end(), [](std::int64_t count) { return count >= 0; });
}

RoutingStats& RoutingStats::operator+=(const RoutingStats& other) {
  if (routed.empty()) return *this = other;
  tokens += other.tokens;
  for (std::size_t i = 0; i < routed.size(); ++i) {
    if (routed[i] >= 0) routed[i] += other.routed[i];
  }
  return *this;
}

RoutingStats RoutingStats::between(const RoutingStats& earlier, RoutingStats later) {
  later.tokens -= earlier.tokens;
  for (std::size_t i = 0; i < earlier.routed.size(); ++i) {
    if (later.routed[i] >= 0) later.routed[i] -= earlier.routed[i];
  }
  return later;
}

Session::Session(std::shared_ptr<const Model> model, std::shared_ptr<Backend> backend,
                 std::vector<std::shared_ptr<Backend>> fallbacks, const SessionOptions& options)
    : model_(std::move(model)),
      backends_(joined(std::move(backend), std::move(fallbacks))),
      options_(resolved(options, model_->config())),
      caches_(model_->config(), model_->placement(), options_.cache_dtype, options_.context) {
  const ModelConfig& config = model_->config();
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.routes(layer)) continue;
    Backend& home = model_->placement().layer(layer);
    auto& counters = tally_[&home];
    if (!counters) {
      counters = home.allocate(static_cast<std::size_t>(config.l2a->routed_layers()) *
                               sizeof(std::int32_t));
    }
  }
}

CacheBytes Session::cache_bytes() const {
  return l2a::cache_bytes(model_->config(), options_.cache_dtype, position_);
}

std::size_t Session::arena_bytes() const {
  std::size_t bytes = 0;
  for (const auto& entry : compiled_) bytes += entry->plan.arena_bytes();
  return bytes;
}

void Session::require_room(std::int64_t count) const {
  if (count > context() - position_) {
    throw Error(concat(count, " tokens do not fit: the context holds ", context(), " and ",
                       position_, " are in use"));
  }
}

void Session::require_known(std::span<const Token> tokens) const {
  if (tokens.empty()) throw Error("a step needs at least one token");
  const std::int64_t vocabulary = model_->config().vocabulary;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocabulary) {
      throw Error(
          concat("token ", i, " is ", tokens[i], ", outside the vocabulary of ", vocabulary));
    }
  }
}

Session::Compiled& Session::compiled(std::int64_t tokens, LogitsOf logits) {
  auto same = [&](const auto& entry) {
    return entry->request.tokens == tokens && entry->request.logits == logits;
  };
  auto found = std::find_if(compiled_.begin(), compiled_.end(), same);
  if (found == compiled_.end()) {
    // Least recently used first; its arena goes before the new one comes.
    if (compiled_.size() == kMaxPlans) compiled_.erase(compiled_.begin());
    const DecoderRequest request{tokens,
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
    compiled_.push_back(
        std::make_unique<Compiled>(Compiled{request, std::move(decoder), std::move(plan)}));
  } else {
    std::rotate(found, found + 1, compiled_.end());
  }
  return *compiled_.back();
}

void Session::write_draws(Compiled& entry) {
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

void Session::run_timed(Plan& plan, std::int64_t tokens) {
  const RoutingStats before = routing();
  PlanTimes times;
  plan.run(times);
  RoutingStats step = RoutingStats::between(before, routing());
  step.tokens = tokens;
  add_times(*op_times_, plan.graph(), times, {position_ + tokens, step.share()});
}

Evaluation Session::step(std::span<const Token> tokens, LogitsOf logits) {
  require_known(tokens);
  const auto count = static_cast<std::int64_t>(tokens.size());
  require_room(count);

  Compiled& entry = compiled(count, logits);
  positions_.resize(tokens.size());
  std::iota(positions_.begin(), positions_.end(), static_cast<std::int32_t>(position_));
  entry.plan.write(entry.decoder.tokens, tokens);
  entry.plan.write(entry.decoder.positions, std::span<const std::int32_t>(positions_));
  if (entry.decoder.draws) write_draws(entry);
  if (op_times_ != nullptr) {
    run_timed(entry.plan, count);
  } else {
    entry.plan.run();
  }
  position_ += count;
  filled_ = std::max(filled_, position_);

  Evaluation result;
  result.session_ = this;
  if (logits != LogitsOf::none) result.rows_ = logits == LogitsOf::all ? tokens.size() : 1;
  last_run_ = &entry;
  logits_.clear();
  most_likely_.clear();
  candidates_.clear();
  routes_.clear();
  for (const Tensor rows : entry.decoder.routes) {
    std::vector<std::int32_t> list(1 + tokens.size());
    entry.plan.read(rows, std::span<std::int32_t>(list));
    const auto routed = list.begin() + 1;
    routes_.emplace_back(routed, routed + list.front());
  }
  result.routes = routes_;
  if (options_.observe_matmul) show_matmul_inputs(entry);
  if (options_.observe_narrowed) show_narrowed(entry);
  return result;
}

std::span<const float> Evaluation::logits() const {
  if (empty()) return {};
  std::vector<float>& logits = session_->logits_;
  if (logits.empty()) {
    const Session::Compiled& last = *session_->last_run_;
    logits.resize(rows_ * static_cast<std::size_t>(session_->model_->config().vocabulary));
    last.plan.read(last.decoder.logits, std::span<float>(logits));
  }
  return logits;
}

std::span<const Token> Evaluation::most_likely() const {
  if (empty()) return {};
  std::vector<Token>& tokens = session_->most_likely_;
  if (tokens.empty()) {
    const Session::Compiled& last = *session_->last_run_;
    tokens.resize(rows_);
    last.plan.read(last.decoder.most_likely, std::span<Token>(tokens));
  }
  return tokens;
}

std::span<const Candidate> Evaluation::candidates() const {
  if (empty()) return {};
  std::vector<Candidate>& candidates = session_->candidates_;
  const Session::Compiled& last = *session_->last_run_;
  if (candidates.empty() && last.decoder.candidates) {
    const Shape& shape = last.decoder.graph->value(last.decoder.candidates.id).info.shape;
    std::vector<float> pairs(static_cast<std::size_t>(shape.elements()));
    last.plan.read(last.decoder.candidates, std::span<float>(pairs));
    for (std::size_t i = 0; i < pairs.size(); i += 2)
      candidates.push_back({pairs[i], static_cast<Token>(pairs[i + 1])});
  }
  return candidates;
}

void Session::show_narrowed(const Compiled& entry) {
  NarrowedAttention shown;
  shown.first = position_ - entry.request.tokens;
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

void Session::show_matmul_inputs(const Compiled& entry) {
  std::vector<std::int32_t> list(static_cast<std::size_t>(1 + entry.request.tokens));
  for (const MatmulInput& input : entry.decoder.matmul_inputs) {
    const Shape& shape = entry.decoder.graph->value(input.values.id).info.shape;
    std::int64_t rows = shape[0];
    if (input.rows) {
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

Evaluation Session::prefill(std::span<const Token> tokens,
                            const std::function<bool(std::int64_t)>& progress) {
  require_known(tokens);
  require_room(static_cast<std::int64_t>(tokens.size()));
  const auto chunk = static_cast<std::size_t>(options_.chunk);
  Evaluation result;
  for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const std::size_t count = std::min(chunk, tokens.size() - begin);
    const bool last = begin + count == tokens.size();
    result = step(tokens.subspan(begin, count), last ? LogitsOf::last : LogitsOf::none);
    if (progress && !progress(static_cast<std::int64_t>(begin + count)) && !last) return {};
  }
  return result;
}

RoutingStats Session::routing() const {
  const ModelConfig& config = model_->config();
  RoutingStats stats;
  stats.tokens = position_ - assumed_;
  stats.routed.assign(static_cast<std::size_t>(config.layers), -1);
  if (tally_.empty()) return stats;
  std::map<const Backend*, std::vector<std::int32_t>> counts;
  for (const auto& [backend, buffer] : tally_) {
    std::vector<std::int32_t>& own = counts[backend];
    own.resize(static_cast<std::size_t>(config.l2a->routed_layers()));
    buffer->download(0, std::as_writable_bytes(std::span<std::int32_t>(own)));
  }
  std::size_t next = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.routes(layer)) continue;
    const Backend* home = &model_->placement().layer(layer);
    stats.routed[static_cast<std::size_t>(layer)] = counts.at(home)[next++];
  }
  return stats;
}

void Session::reset() {
  position_ = assumed_ = 0;
  for (const auto& [backend, buffer] : tally_) {
    const std::vector<std::byte> zeros(buffer->bytes());
    buffer->upload(0, zeros);
  }
}

void Session::assume(std::int64_t position) {
  reset();
  require_room(position);
  caches_.fill(filled_, position);
  filled_ = std::max(filled_, position);
  position_ = assumed_ = position;
}

}  // namespace l2a
