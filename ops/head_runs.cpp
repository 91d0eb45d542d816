#include "ops/head_runs.h"

#include "ops/add.h"
#include "ops/gather_rows.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace l2a {
namespace {

constexpr std::size_t kNone = ProjectionRun::kNone;

// Queries that are turned as the keys are, and normed with the same epsilon.
bool goes_with(const NodeRun& run, const ProjectionRun& query, const ProjectionRun& key) {
  return query.rope != kNone && run.same_input(query.rope, Rope::kTable, key.rope, Rope::kTable) &&
         run.op<Rope>(query.rope)->pairing == run.op<Rope>(key.rope)->pairing &&
         (query.norm == kNone || key.norm == kNone ||
          run.op<RmsNorm>(query.norm)->eps == run.op<RmsNorm>(key.norm)->eps);
}

}  // namespace

bool same_activations(const NodeRun& run, std::size_t i, std::size_t j) {
  return run.same_input(i, Matmul::kX, j, Matmul::kX) &&
         run.same_input(i, Matmul::kRows, j, Matmul::kRows);
}

std::optional<ProjectionRun> match_projection(const NodeRun& run, std::size_t i) {
  if (run.op<Matmul>(i) == nullptr) return std::nullopt;
  ProjectionRun found;
  found.matmul = found.last = i;
  if (run.op<Add>(i + 1) != nullptr && run.feeds_only(found.last, i + 1, Add::kA) &&
      run.value(run.node(i + 1).inputs[Add::kB]).info.shape.rank() == 1) {
    found.bias = found.last = ++i;
  }
  if (run.op<RmsNorm>(i + 1) != nullptr && run.feeds_only(found.last, i + 1, RmsNorm::kX))
    found.norm = found.last = ++i;
  if (run.op<Rope>(i + 1) != nullptr && run.feeds_only(found.last, i + 1, Rope::kX))
    found.rope = found.last = ++i;
  return found;
}

std::optional<HeadsRun> match_heads(const NodeRun& run, std::size_t i, std::size_t gather) {
  const auto key = match_projection(run, i);
  if (!key || key->rope == kNone || run.in_value(i, Matmul::kRows) != kNoValue) return std::nullopt;
  const auto value = match_projection(run, key->end());
  if (!value || value->rope != kNone || value->norm != kNone ||
      !same_activations(run, i, value->matmul))
    return std::nullopt;
  const std::size_t first = value->end(), second = first + 1;
  const auto *append_key = run.op<KvAppend>(first), *append_value = run.op<KvAppend>(second);
  if (append_key == nullptr || append_value == nullptr ||
      !run.feeds_only(key->last, first, KvAppend::kX) ||
      !run.feeds_only(value->last, second, KvAppend::kX) ||
      append_key->sinks != append_value->sinks ||
      !run.same_input(first, KvAppend::kPositions, second, KvAppend::kPositions) ||
      run.value(run.node(first).output).info.shape != run.value(run.node(second).output).info.shape)
    return std::nullopt;
  HeadsRun found{*key, *value, first, second, std::nullopt};
  const auto query = match_projection(run, second + 1);
  if (!query || !goes_with(run, *query, *key)) return found;
  const bool same = gather == kNone
                        ? same_activations(run, i, query->matmul)
                        : run.feeds_only(gather, query->matmul, Matmul::kX) &&
                              run.in_value(query->matmul, Matmul::kRows) ==
                                  run.in_value(gather, GatherRows::kRows) &&
                              run.in_value(gather, GatherRows::kX) == run.in_value(i, Matmul::kX);
  if (same) found.query = query;
  return found;
}

}  // namespace l2a
