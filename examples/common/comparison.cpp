#include "examples/common/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/error.h"
#include "ops/dequantize.h"

namespace l2a {
namespace {

std::vector<std::int32_t> read_integers(const Plan& plan, ValueId id) {
  const Value& value = plan.graph().value(id);
  std::vector<std::int32_t> values(static_cast<std::size_t>(value.info.shape.elements()));
  plan.read({id}, std::span<std::int32_t>(values));
  return values;
}

std::vector<float> read_floats(const Plan& plan, ValueId id) {
  const ValueInfo& info = plan.graph().value(id).info;
  std::vector<std::byte> bytes(dtype_bytes(info.dtype, info.shape.elements()));
  plan.read({id}, std::span(bytes));
  std::vector<float> values(static_cast<std::size_t>(info.shape.elements()));
  dequantize_row(info.dtype, bytes, values);
  return values;
}

// The tokens of a Rows.
std::vector<std::int32_t> read_rows(const Plan& plan, ValueId id) {
  std::vector<std::int32_t> list = read_integers(plan, id);
  const auto count = static_cast<std::size_t>(list.front());
  list.erase(list.begin());
  list.resize(count);
  return list;
}

// The layer that each node belongs to: up to the value that the layer hands on. What follows the last one is the head.
std::vector<std::size_t> layer_of_nodes(const Graph& graph) {
  std::vector<std::size_t> layers;
  std::size_t layer = 0;
  for (const Node& node : graph.nodes()) {
    layers.push_back(layer);
    if (graph.value(node.output).name == concat("layer.", layer)) ++layer;
  }
  return layers;
}

class Comparer {
 public:
  Comparer(const Plan& first, const Plan& other, ComparedBackend& result)
      : first_(first), other_(other), result_(result) {}

  void compare(const ModelConfig& config) {
    const Graph& graph = first_.graph();
    const std::vector<std::size_t> layers = layer_of_nodes(graph);
    std::size_t routed = 0;
    for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
      const Node& node = graph.nodes()[i];
      const Value& value = graph.value(node.output);
      if (value.info.is_rows) {
        compare_routes(node.output, config, routed++);
      } else if (value.info.dtype != Dtype::i32) {  // integers: counters, and the likeliest token
        const std::string where = layers[i] < static_cast<std::size_t>(config.layers)
                                      ? concat("layer ", layers[i], ", ", value.name)
                                      : concat("head, ", value.name);
        ErrorSum node_error = compare_values(node.output);
        node_error.where = where;
        add(result_.by_op[std::string(node.op->name())], node_error);
        add(result_.by_layer[layers[i]], node_error);
      }
    }
  }

 private:
  static void add(ErrorSum& sum, const ErrorSum& node) {
    if (node.largest > sum.largest || sum.where.empty()) {
      sum.largest = node.largest;
      sum.where = node.where;
    }
    sum.total += node.total;
    sum.values += node.values;
  }

  void compare_routes(ValueId rows, const ModelConfig& config, std::size_t index) {
    const std::vector<std::int32_t> a = read_rows(first_, rows), b = read_rows(other_, rows);
    std::vector<std::int32_t> both;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
    if (index == result_.routes.size()) {
      result_.routes.emplace_back();
      std::int64_t layer = index == 0 ? 0 : result_.routes[index - 1].layer + 1;
      while (!config.routes(layer)) ++layer;
      result_.routes.back().layer = layer;
    }
    RouteCounts& counts = result_.routes[index];
    counts.tokens += first_.graph().value(rows).info.shape[0] - 1;
    counts.both += static_cast<std::int64_t>(both.size());
    counts.first_alone += static_cast<std::int64_t>(a.size() - both.size());
    counts.other_alone += static_cast<std::int64_t>(b.size() - both.size());
  }

  ErrorSum compare_values(ValueId id) const {
    const ValueInfo& info = first_.graph().value(id).info;
    const std::vector<float> a = read_floats(first_, id), b = read_floats(other_, id);
    const auto row = static_cast<std::size_t>(info.shape.elements() / info.shape[0]);
    // Pairs of rows that are of the same token.
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    if (info.compact()) {
      const std::vector<std::int32_t> tokens_a = read_rows(first_, info.rows);
      const std::vector<std::int32_t> tokens_b = read_rows(other_, info.rows);
      for (std::size_t i = 0, j = 0; i < tokens_a.size() && j < tokens_b.size();) {
        if (tokens_a[i] == tokens_b[j]) pairs.emplace_back(i, j);
        const bool step_a = tokens_a[i] <= tokens_b[j], step_b = tokens_b[j] <= tokens_a[i];
        i += step_a ? 1 : 0;
        j += step_b ? 1 : 0;
      }
    } else {
      for (std::size_t i = 0; i < static_cast<std::size_t>(info.shape[0]); ++i)
        pairs.emplace_back(i, i);
    }
    float scale = 0;
    for (const auto& [i, j] : pairs) {
      for (std::size_t k = 0; k < row; ++k) {
        const float size = std::fabs(a[i * row + k]);
        if (std::isfinite(size)) scale = std::max(scale, size);
      }
    }
    ErrorSum sum;
    for (const auto& [i, j] : pairs) {
      for (std::size_t k = 0; k < row; ++k) {
        const double error = error_of(a[i * row + k], b[j * row + k], scale > 0 ? scale : 1);
        sum.largest = std::max(sum.largest, error);
        sum.total += error;
      }
      sum.values += static_cast<std::int64_t>(row);
    }
    return sum;
  }

  static double error_of(float a, float b, float scale) {
    if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
    const double error = std::fabs(static_cast<double>(a) - b) / scale;
    return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }

  const Plan &first_, &other_;
  ComparedBackend& result_;
};

// Feeds the prompt to a session for each backend in step, and compares after each.
void compare_values(std::span<const std::shared_ptr<Backend>> backends,
                    std::span<const std::shared_ptr<const Model>> models,
                    std::span<const Token> prompt, const ComparisonOptions& options,
                    const std::function<void(std::string_view)>& progress, Comparison& result) {
  SessionOptions session_options;
  session_options.context = static_cast<std::int64_t>(prompt.size());
  session_options.cache_dtype = options.cache_dtype;
  session_options.keep_everything = true;
  std::vector<std::unique_ptr<Session>> sessions;
  for (std::size_t i = 0; i < backends.size(); ++i) {
    sessions.push_back(std::make_unique<Session>(
        models[i], backends[i], std::vector<std::shared_ptr<Backend>>{}, session_options));
  }
  const auto count = static_cast<std::int64_t>(prompt.size());
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t together = count - result.single_tokens - done;
    const std::int64_t size = together > 0 ? std::min(options.chunk, together) : 1;
    for (std::size_t i = 0; i < sessions.size(); ++i) {
      progress(concat("tokens ", done, " to ", done + size - 1, " on ", backends[i]->name()));
      sessions[i]->step(
          prompt.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(size)),
          LogitsOf::last);
      if (i == 0) continue;
      Comparer(sessions[0]->plan(size, LogitsOf::last), sessions[i]->plan(size, LogitsOf::last),
               result.backends[i])
          .compare(models[i]->config());
    }
    done += size;
  }
}

// A greedy text, as programs make it, timed.
void write_text(const std::shared_ptr<Backend>& backend, const std::shared_ptr<const Model>& model,
                std::span<const Token> prompt, const ComparisonOptions& options,
                ComparedBackend& result) {
  SessionOptions session_options;
  session_options.context = static_cast<std::int64_t>(prompt.size()) + options.greedy + 1;
  session_options.cache_dtype = options.cache_dtype;
  Session session(model, backend, {}, session_options);
  session.prefill(prompt);  // the first run of a plan touches memory for the first time
  session.decode(prompt.back());
  session.reset();
  session.time_ops(&result.prefill);
  Token next = session.prefill(prompt).most_likely().front();
  session.time_ops(&result.decode);
  for (std::int64_t i = 0; i < options.greedy; ++i) {
    result.text.push_back(next);
    next = session.decode(next).most_likely().front();
  }
}

}  // namespace

Comparison compare_backends(std::span<const std::shared_ptr<Backend>> backends,
                            const LoadModel& load, std::span<const Token> prompt,
                            const ComparisonOptions& options,
                            const std::function<void(std::string_view)>& progress) {
  if (backends.size() < 2) throw Error("a comparison needs at least two backends");
  Comparison result;
  std::vector<std::shared_ptr<const Model>> models;
  for (const auto& backend : backends) {
    progress(concat("loading on ", backend->name()));
    models.push_back(load(backend));
    result.layers = models.back()->config().layers;
    ComparedBackend compared;
    compared.name = std::string(backend->name());
    if (models.size() > 1) compared.by_layer.resize(static_cast<std::size_t>(result.layers) + 1);
    result.backends.push_back(std::move(compared));
  }
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  result.single_tokens = std::min(options.single, result.prompt_tokens - 1);
  compare_values(backends, models, prompt, options, progress, result);
  for (std::size_t i = 0; i < backends.size(); ++i) {
    progress(concat("text of ", backends[i]->name()));
    ComparedBackend& compared = result.backends[i];
    write_text(backends[i], models[i], prompt, options, compared);
    const std::vector<Token>& first = result.backends.front().text;
    compared.same = static_cast<std::size_t>(
        std::mismatch(first.begin(), first.end(), compared.text.begin()).first - first.begin());
  }
  return result;
}

std::vector<std::string> timed_ops(const Comparison& comparison, OpTimes ComparedBackend::*phase) {
  std::map<std::string, double> sums;
  for (const ComparedBackend& backend : comparison.backends) {
    for (const auto& [op, time] : backend.*phase) sums[op] += time.seconds;
  }
  std::vector<std::string> ops;
  ops.reserve(sums.size());
  for (const auto& [op, seconds] : sums) ops.push_back(op);
  std::sort(ops.begin(), ops.end(),
            [&](const std::string& a, const std::string& b) { return sums[a] > sums[b]; });
  return ops;
}

double op_seconds(const OpTimes& times, const std::string& op) {
  const auto found = times.find(op);
  return found == times.end() ? 0 : found->second.seconds;
}

double all_seconds(const OpTimes& times) {
  double sum = 0;
  for (const auto& [op, time] : times) sum += time.seconds;
  return sum;
}

}  // namespace l2a
