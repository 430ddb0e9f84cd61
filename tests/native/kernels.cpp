// The kernels of one instruction set against plain loops, without torch: what an emulated processor can run.
// Prints what differs; the exit status says whether anything did.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "attention.hpp"
#include "kernels.hpp"

namespace karaffe::KARAFFE_SET {
const KernelSet& kernel_set();
const AttentionSet& attention_set();
}  // namespace karaffe::KARAFFE_SET

using namespace karaffe;
using karaffe::KARAFFE_SET::attention_set;
using karaffe::KARAFFE_SET::kernel_set;

namespace {

int failures = 0, checks = 0;

// Values about -1 … 1 that are the same on every machine.
template <class T>
std::vector<T> values(int64_t count, uint32_t seed) {
  std::vector<T> v(count);
  for (T& x : v) x = static_cast<T>((seed = seed * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1;
  return v;
}

template <class T>
void compare(const std::vector<T>& got, const std::vector<double>& wanted, const std::string& what) {
  double largest = 1, error = 0;
  for (size_t n = 0; n < wanted.size(); ++n) {
    largest = std::max(largest, std::abs(wanted[n]));
    const double here = std::abs(got[n] - wanted[n]);
    error = here <= error ? error : here;  // a NaN counts
  }
  ++checks;
  if (error <= largest * (sizeof(T) == 4 ? 2e-5 : 1e-12)) return;
  ++failures;
  std::printf("%s: error %g of %g\n", what.c_str(), error, largest);
}

// Where value (image, channel, pixel) is.
int64_t at(bool last, int64_t channels, int64_t pixels, int64_t image, int64_t channel, int64_t pixel) {
  return image * channels * pixels + (last ? pixel * channels + channel : channel * pixels + pixel);
}

struct Indices {
  int64_t image, group, target, tap, pixel;  // pixel: `outside` where the tap reads nothing
};

// Calls visit(Indices) for every tap of every target.
template <class Visit>
void for_all(const Problem& p, Visit visit) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t g = 0; g < p.groups; ++g)
      for (int64_t target = 0; target < p.target_pixels(); ++target)
        for (int64_t tap = 0; tap < p.taps(); ++tap) {
          const int64_t z = target / (height.target * width.target), y = target / width.target % height.target,
                        x = target % width.target;
          const int64_t h = tap / (height.taps * width.taps), i = tap / width.taps % height.taps, j = tap % width.taps;
          const int64_t qz = depth.reads[z * depth.taps + h], qy = height.reads[y * height.taps + i],
                        qx = width.reads[x * width.taps + j];
          const bool absent = qz == outside || qy == outside || qx == outside;
          visit(Indices{n, g, target, tap, absent ? outside : (qz * height.source + qy) * width.source + qx});
        }
}

template <class T>
void linear_operators(Problem p, const std::string& what) {
  const Tables tables(p);
  p.factor = specialised_factor(p, sizeof(T) == 8);
  p.strided = !p.factor && has_strides(p, sizeof(T) == 8);
  if (!p.factor && !p.strided) p.channels_last = true;
  const int64_t channels = p.groups * p.channels, taps = p.groups * p.taps();
  const auto source = values<T>(p.batch * channels * p.source_pixels(), 1);
  const auto kernels = values<T>(p.batch * taps * p.target_pixels(), 2);
  const auto query = values<T>(p.batch * channels * p.target_pixels(), 3);
  std::vector<double> reassembled(query.size()), correlated(kernels.size()), scattered(source.size());
  for_all(p, [&](const Indices& n) {
    if (n.pixel == outside) return;
    const int64_t k = at(p.channels_last, taps, p.target_pixels(), n.image, n.group * p.taps() + n.tap, n.target);
    for (int64_t c = n.group * p.channels; c < (n.group + 1) * p.channels; ++c) {
      const int64_t v = at(p.channels_last, channels, p.source_pixels(), n.image, c, n.pixel);
      const int64_t q = at(p.channels_last, channels, p.target_pixels(), n.image, c, n.target);
      reassembled[q] += double(kernels[k]) * source[v];
      correlated[k] += double(query[q]) * source[v];
      scattered[v] += double(kernels[k]) * query[q];
    }
  });
  const Operators<T>& op = kernel_set().operators<T>();
  const auto run = [&](RowKernel<T> kernel, bool scatter, const std::vector<T>& x, const std::vector<T>& y,
                       const std::vector<double>& wanted, const char* name) {
    std::vector<T> result(wanted.size(), std::nan(""));
    const int64_t rows = work_rows(p, scatter);  // in two parts, as two threads would
    if (!kernel(p, x.data(), y.data(), result.data(), 0, rows / 2) ||
        !kernel(p, x.data(), y.data(), result.data(), rows / 2, rows))
      std::printf("no memory\n"), ++failures;
    compare(result, wanted, what + " " + name);
  };
  run(op.reassemble, false, source, kernels, reassembled, "reassemble");
  run(op.correlate, false, source, query, correlated, "correlate");
  run(op.scatter, true, kernels, query, scattered, "scatter");
}

// Local attention on two axes with plain loops, output and gradients.
template <class T>
struct AttentionLoop {
  const Attention& a;
  Outside mode;
  bool last;
  int64_t key_channels = a.heads * a.key_channels, value_channels = a.heads * a.value_channels;
  std::vector<T> query = values<T>(a.batch * key_channels * a.target_pixels(), 1);
  std::vector<T> key = values<T>(a.batch * key_channels * a.source_pixels(), 2);
  std::vector<T> value = values<T>(a.batch * value_channels * a.source_pixels(), 3);
  std::vector<T> grad = values<T>(a.batch * value_channels * a.target_pixels(), 4);
  std::vector<T> bias = values<T>(a.batch * a.heads * a.window(), 5);
  std::vector<double> result{std::vector<double>(grad.size())}, by_query{std::vector<double>(query.size())},
      by_key{std::vector<double>(key.size())}, by_value{std::vector<double>(value.size())},
      by_bias{std::vector<double>(bias.size())};

  void run() {
    for (int64_t n = 0; n < a.batch; ++n)
      for (int64_t h = 0; h < a.heads; ++h)
        for (int64_t target = 0; target < a.target_pixels(); ++target) one(n, h, target);
  }

  // What tap t of a target reads, or `outside`.
  int64_t pixel(int64_t target, int64_t t) const {
    const WindowAxis &height = a.axis[1], &width = a.axis[2];
    const int64_t y = target / width.target * height.source / height.target,
                  x = target % width.target * width.source / width.target;
    const int64_t qy = height.reads[y * height.taps + t / width.taps], qx = width.reads[x * width.taps + t % width.taps];
    return qy == outside || qx == outside ? outside : qy * width.source + qx;
  }

  void one(int64_t n, int64_t h, int64_t target) {
    const auto q = [&](int64_t c) { return at(last, key_channels, a.target_pixels(), n, h * a.key_channels + c, target); };
    const auto o = [&](int64_t c) {
      return at(last, value_channels, a.target_pixels(), n, h * a.value_channels + c, target);
    };
    const auto k = [&](int64_t t, int64_t c) {
      return at(last, key_channels, a.source_pixels(), n, h * a.key_channels + c, pixel(target, t));
    };
    const auto v = [&](int64_t t, int64_t c) {
      return at(last, value_channels, a.source_pixels(), n, h * a.value_channels + c, pixel(target, t));
    };
    std::vector<double> weight(a.window(), 0), moved(a.window(), 0);
    double total = 0, mean = 0;
    for (int64_t t = 0; t < a.window(); ++t) {
      const bool absent = pixel(target, t) == outside;
      if (absent && mode == Outside::mask) continue;
      double score = 0;
      for (int64_t c = 0; !absent && c < a.key_channels; ++c) score += double(query[q(c)]) * key[k(t, c)];
      total += weight[t] = std::exp(a.scale * score + bias[(n * a.heads + h) * a.window() + t]);
    }
    for (int64_t t = 0; t < a.window(); ++t) {
      weight[t] /= total;
      for (int64_t c = 0; pixel(target, t) != outside && c < a.value_channels; ++c) {
        result[o(c)] += weight[t] * value[v(t, c)];
        moved[t] += double(grad[o(c)]) * value[v(t, c)];
        by_value[v(t, c)] += weight[t] * grad[o(c)];
      }
      mean += weight[t] * moved[t];
    }
    for (int64_t t = 0; t < a.window(); ++t) {
      const double slope = weight[t] * (moved[t] - mean);
      by_bias[(n * a.heads + h) * a.window() + t] += slope;
      for (int64_t c = 0; pixel(target, t) != outside && c < a.key_channels; ++c) {
        by_query[q(c)] += a.scale * slope * key[k(t, c)];
        by_key[k(t, c)] += a.scale * slope * query[q(c)];
      }
    }
  }
};

template <class T>
void local_attention(Attention a, Outside mode, bool last, const AttentionKernels<T>& kernels, const std::string& what) {
  std::vector<int64_t> taps(a.window());
  for (int64_t n = 0; n < a.window(); ++n) taps[n] = n;
  a.taps = taps.data();
  a.tap_count = a.window();
  const Windows windows(a, mode, Alignment::corner);
  AttentionLoop<T> wanted{a, mode, last};
  wanted.run();
  const int64_t image_rows = a.axis[0].source * a.axis[1].source;
  std::vector<T> result(wanted.grad.size(), std::nan("")), by_query(wanted.query.size(), std::nan("")),
      by_key(wanted.key.size(), std::nan("")), by_value(wanted.value.size(), std::nan("")), by_bias(wanted.bias.size()),
      log_sum(a.batch * a.heads * a.target_pixels()), rows(a.batch * a.heads * image_rows * a.window());
  AttentionTensors<T> t;
  t.query = {wanted.query.data(), last, wanted.key_channels, a.target_pixels()};
  t.key = {wanted.key.data(), last, wanted.key_channels, a.source_pixels()};
  t.value = {wanted.value.data(), last, wanted.value_channels, a.source_pixels()};
  t.grad = {wanted.grad.data(), last, wanted.value_channels, a.target_pixels()};
  t.bias = wanted.bias.data();
  t.result = {result.data(), last, wanted.value_channels, a.target_pixels()};
  t.log_sum = log_sum.data();
  t.known_log_sum = log_sum.data();
  t.by_query = {by_query.data(), last, wanted.key_channels, a.target_pixels()};
  t.by_key = {by_key.data(), last, wanted.key_channels, a.source_pixels()};
  t.by_value = {by_value.data(), last, wanted.value_channels, a.source_pixels()};
  t.by_bias = rows.data();
  const int64_t forward = a.forward_rows(), backward = a.backward_rows();  // in two parts, as two threads would
  if (!kernels.forward(a, t, 0, forward / 2) || !kernels.forward(a, t, forward / 2, forward) ||
      !kernels.backward(a, t, 0, backward / 2) || !kernels.backward(a, t, backward / 2, backward))
    std::printf("no memory\n"), ++failures;
  for (size_t n = 0; n < rows.size(); ++n)
    by_bias[n / (image_rows * a.window()) * a.window() + n % a.window()] += rows[n];
  compare(result, wanted.result, what);
  if (kernels.planes && a.planes.factor && !last) {
    std::fill(result.begin(), result.end(), std::nan(""));
    std::vector<double> same(log_sum.begin(), log_sum.end());
    if (!kernels.planes(a, t, 0, forward / 2) || !kernels.planes(a, t, forward / 2, forward))
      std::printf("no memory\n"), ++failures;
    compare(result, wanted.result, what + " on planes");
    compare(log_sum, same, what + " on planes, log-sum");
  }
  compare(by_query, wanted.by_query, what + " by query");
  compare(by_key, wanted.by_key, what + " by key");
  compare(by_value, wanted.by_value, what + " by value");
  compare(by_bias, wanted.by_bias, what + " by bias");
}

// Reassembly, correlation and scatter: the specialised kernels, and the general ones.
void linear_cases() {
  for (int64_t factor = 1; factor <= 4; ++factor)
    for (int64_t taps : {3, 4, 5, 7})
      for (bool last : {false, true}) {
        Problem p;
        p.batch = 1;
        p.groups = 2;
        p.channels = factor == 2 ? 19 : 6;
        p.axis[1] = {4, 4 * factor, taps, 1};
        p.axis[2] = {9, 9 * factor, taps, 1};
        p.border = factor == 3 ? Border::reflect : factor == 4 ? Border::replicate : Border::zeros;
        p.channels_last = last;
        const std::string what = "k" + std::to_string(taps) + " x" + std::to_string(factor) + (last ? " last" : " first");
        linear_operators<float>(p, "float " + what);
        linear_operators<double>(p, "double " + what);
      }
  Problem odd;
  odd.batch = 2;
  odd.groups = 1;
  odd.channels = 5;
  odd.axis[0] = {2, 3, 2, 1};
  odd.axis[1] = {4, 7, 3, 2};
  odd.axis[2] = {5, 3, 3, 1};
  linear_operators<float>(odd, "float three axes");
  linear_operators<double>(odd, "double three axes");
}

// Sources of whole multiples of the targets, plane by plane.
void strided_cases() {
  for (int64_t stride = 1; stride <= 5; ++stride)
    for (Border border : {Border::zeros, Border::replicate, Border::reflect})
      for (int64_t width : {3, 8, 21}) {
        Problem p;
        p.batch = 2;
        p.groups = 2;
        p.channels = stride == 2 ? 39 : 7;
        p.axis[1] = {3 * (stride % 3 + 1), 3, 5, stride % 2 + 1};
        p.axis[2] = {stride * width, width, stride == 3 ? 4 : 5, 1};
        p.border = border;
        p.alignment = width == 8 ? Alignment::center : Alignment::corner;
        linear_operators<float>(p, "float stride " + std::to_string(stride) + " width " + std::to_string(width));
      }
}

void attention_cases() {
  const std::pair<Outside, const char*> modes[] = {{Outside::mask, "mask"}, {Outside::zeros, "zeros"}, {Outside::shift, "shift"}};
  for (const auto& [mode, name] : modes)
    for (bool last : {false, true})
      for (auto [factor, taps] : {std::pair<int64_t, int64_t>{1, 5}, {2, 5}, {3, 5}, {5, 5}, {1, 3}, {2, 3}, {3, 3}}) {
        Attention a;
        a.batch = 1;
        a.heads = 2;
        a.key_channels = 9;
        a.value_channels = factor == 2 ? 20 : 3;
        a.scale = 0.5;
        a.axis[1] = {5, 5 * factor, 3, 1};
        a.axis[2] = {taps == 3 ? 19 : 7, (taps == 3 ? 19 : 7) * factor - (factor == 3 && taps == 5), taps, 1};
        const std::string what = std::string("attention ") + name + " k" + std::to_string(taps) + " x" +
                                 std::to_string(factor) + (last ? " last" : " first");
        local_attention<float>(a, mode, last, attention_set().single, "float " + what);
        local_attention<double>(a, mode, last, attention_set().dbl, "double " + what);
      }
}

}  // namespace

int main() {
  linear_cases();
  strided_cases();
  attention_cases();
  std::printf("%s: %d of %d checks failed\n", kernel_set().name, failures, checks);
  return failures != 0;
}
