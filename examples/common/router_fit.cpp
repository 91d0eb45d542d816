#include "examples/common/router_fit.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "graph/error.h"

namespace l2a {
namespace {

// Rows of the matrix of squares that go together: wide enough for Eigen's products, narrow enough to share among cores.
constexpr std::int64_t kBlock = 64;

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

double norm_of_difference(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

}  // namespace

double NeedScale::scaled(std::size_t layer, float need) const {
  return std::exp(log_scales[layer]) * static_cast<double>(need);
}

float NeedScale::effect(std::size_t layer, float need) const {
  const double value = scaled(layer, need);
  return static_cast<float>(value * value);
}

float NeedScale::target(std::size_t layer, float need) const {
  return static_cast<float>(std::log(scaled(layer, need) + least));
}

std::vector<float> attention_need(const NarrowedAttention& step) {
  const auto width = static_cast<std::size_t>(step.hidden);
  std::vector<float> needs(step.x.size() / width);
  for (std::size_t i = 0; i < needs.size(); ++i) {
    const auto row = [&](std::span<const float> values) {
      return values.subspan(i * width, width);
    };
    const double change = norm_of_difference(row(step.all), row(step.narrow));
    const double size = norm(row(step.x));
    if (!std::isfinite(change) || !std::isfinite(size) || !std::isfinite(norm(row(step.h)))) {
      throw Error(concat("layer ", step.layer, " gives numbers that are not finite at token ",
                         step.first + static_cast<std::int64_t>(i), ": the model is damaged"));
    }
    needs[i] = size > 0 ? static_cast<float>(change / size) : 0.0f;
  }
  return needs;
}

std::vector<float> router_logits(const LinearRouter& router, std::span<const float> features) {
  const auto width = static_cast<Eigen::Index>(router.weights.size());
  const auto count = static_cast<Eigen::Index>(features.size()) / width;
  const Eigen::Map<const RowMajor> h(features.data(), count, width);
  const Eigen::Map<const Eigen::VectorXf> weights(router.weights.data(), width);
  std::vector<float> logits(static_cast<std::size_t>(count));
  Eigen::Map<Eigen::VectorXf>(logits.data(), count) =
      ((h * weights).array() + router.bias).matrix();
  return logits;
}

RouterStatistics::RouterStatistics(std::int64_t features)
    : features_(features),
      shift_(static_cast<std::size_t>(features)),
      sums_(static_cast<std::size_t>(features)),
      products_(static_cast<std::size_t>(features)) {
  for (std::int64_t begin = 0; begin < features; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, features);
    squares_.emplace_back(static_cast<std::size_t>((end - begin) * end));
  }
}

std::size_t RouterStatistics::bytes() const {
  std::size_t values = 0;
  for (const std::vector<float>& block : squares_) values += block.size();
  return values * sizeof(float) + shift_.size() * (sizeof(float) + 2 * sizeof(double));
}

void RouterStatistics::add(ThreadPool& pool, std::span<const float> features,
                           std::span<const float> targets) {
  if (targets.empty()) return;
  const auto rows = static_cast<std::int64_t>(targets.size());
  const Eigen::Map<const RowMajor> given(features.data(), rows, features_);
  Eigen::Map<Eigen::RowVectorXf> shift(shift_.data(), features_);
  if (count_ == 0) shift = given.colwise().mean();
  const RowMajor centred = given.rowwise() - shift;
  pool.parallel_for(
      static_cast<std::int64_t>(squares_.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t block = begin; block < end; ++block) {
          const std::int64_t first = block * kBlock;
          const std::int64_t last = std::min(first + kBlock, features_);
          Eigen::Map<RowMajor> squares(squares_[static_cast<std::size_t>(block)].data(),
                                       last - first, last);
          squares.noalias() +=
              centred.middleCols(first, last - first).transpose() * centred.leftCols(last);
        }
      });
  const Eigen::Map<const Eigen::VectorXf> y(targets.data(), rows);
  Eigen::Map<Eigen::VectorXd> sums(sums_.data(), features_), products(products_.data(), features_);
  sums += centred.colwise().sum().transpose().cast<double>();
  products += (centred.transpose() * y).cast<double>();
  target_sum_ += y.cast<double>().sum();
  count_ += rows;
}

LinearRouter RouterStatistics::fit(double ridge) const {
  if (count_ < 2) throw Error("a router is fitted to at least two tokens");
  const auto count = static_cast<double>(count_);
  const Eigen::Map<const Eigen::VectorXd> sums(sums_.data(), features_);
  const Eigen::Map<const Eigen::VectorXd> products(products_.data(), features_);
  const Eigen::VectorXd mean = sums / count;
  const double target_mean = target_sum_ / count;
  Eigen::MatrixXd covariance(features_, features_);
  for (std::size_t block = 0; block < squares_.size(); ++block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kBlock;
    const std::int64_t last = std::min(first + kBlock, features_);
    const Eigen::Map<const RowMajor> squares(squares_[block].data(), last - first, last);
    covariance.block(first, 0, last - first, last) = squares.cast<double>() / count;
  }
  covariance.triangularView<Eigen::Lower>() -= mean * mean.transpose();
  // A feature that never varies says nothing; a scale of 0 leaves it out.
  Eigen::VectorXd scale = covariance.diagonal();
  for (double& value : scale) value = value > 0 ? 1 / std::sqrt(value) : 0;
  for (std::int64_t i = 0; i < features_; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) covariance(i, j) *= scale(i) * scale(j);
    covariance(i, i) = 1 + ridge;
  }
  const Eigen::VectorXd right =
      ((products / count - mean * target_mean).array() * scale.array()).matrix();
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> solver(covariance);
  if (solver.info() != Eigen::Success)
    throw Error("the features of a layer are no basis to fit a router on: its weights are damaged");
  const Eigen::VectorXd weights = (solver.solve(right).array() * scale.array()).matrix();
  LinearRouter router;
  double bias = target_mean;
  for (std::int64_t i = 0; i < features_; ++i) {
    router.weights.push_back(static_cast<float>(weights(i)));
    bias -= weights(i) * (mean(i) + static_cast<double>(shift_[static_cast<std::size_t>(i)]));
  }
  router.bias = static_cast<float>(bias);
  return router;
}

}  // namespace l2a
