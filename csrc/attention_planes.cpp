// Local attention on planes, s x s targets a source pixel. Row by row, a row's correlation of queries and keys gives
// the scores, whose softmax makes the kernels of the same row's reassembly of the values. Pixels ride in the lanes from
// one end to the other, and no more than one row of weights is ever in memory.
#include "attention_kernels.hpp"
#include "correlate_rows.hpp"
#include "logarithm.hpp"
#include "reassemble_planes.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {
namespace {

template <class T, int K, int S>
struct AttentionPlanes {
  using Scores = CorrelateRows<T, K, S>;
  using Values = ReassemblePlanes<T, K, S>;
  using Tile = typename Scores::Tile;
  static constexpr int F = S * S, taps = K * K;
  static constexpr T absent = T(-1e30);  // a score whose exponential is nothing beside any other

  const Problem& p;  // of the values
  int64_t width = p.axis[2].source, height = p.axis[1].source;

  // x * scale + bias, of a vector of pixels [tap][phase].
  static void score(T* x, T scale, const T* bias) {
    for (int t = 0; t < taps; ++t) {
      const T shift = bias ? bias[t] : T(0);
      for (int f = 0; f < F; ++f, x += lanes<T>) store(x, load(x) * scale + shift);
    }
  }

  // The same of taps outside the map: `absent`.
  void mask(T* x, int64_t row, int64_t column) const {
    constexpr int reach = K / 2;
    if (row >= reach && row + reach < height && column >= reach && column + lanes<T> + reach <= width) return;
    for (int i = 0; i < K; ++i)
      for (int j = 0; j < K; ++j, x += F * lanes<T>)
        for (int l = 0; l < lanes<T>; ++l) {
          const int64_t y = row + i - reach, at = column + l + j - reach;
          if (y >= 0 && y < height && at >= 0 && at < width) continue;
          for (int f = 0; f < F; ++f) x[f * lanes<T> + l] = absent;
        }
  }

  // The softmax over the taps of phase f, from x [tap][phase] into a vector's kernels as reassembly takes them; the log
  // of its sum.
  static Vec<T> softmax(T* x, int f, T* kernels) {
    constexpr int P = Values::phases;
    x += f * lanes<T>;
    kernels += (f / P * taps * P + f % P) * lanes<T>;
    Vec<T> most = load(x), total = {};
    for (int t = 1; t < taps; ++t) {
      const Vec<T> other = load(x + t * F * lanes<T>);
      most = most > other ? most : other;
    }
    for (int t = 0; t < taps; ++t) {
      const Vec<T> raised = exponential<T>(load(x + t * F * lanes<T>) - most);
      total += raised;
      store(kernels + t * P * lanes<T>, raised);
    }
    const Vec<T> by = T(1) / total;
    for (int t = 0; t < taps; ++t) store(kernels + t * P * lanes<T>, load(kernels + t * P * lanes<T>) * by);
    return most + logarithm<T>(total);
  }

  // A tile's sums of products into kernels, and the log of each softmax's sum.
  void weigh(const Attention& a, const T* bias, Tile tile, T* sums, T* kernels, T* log_sum) const {
    for (int64_t v = tile.first; v < tile.last; ++v, sums += Scores::vector_sums, kernels += Values::vector_kernels) {
      const int64_t x = first_pixel<T>(v, width);
      score(sums, static_cast<T>(a.scale), bias);
      if (a.masked) mask(sums, tile.y, x);
      for (int r = 0; r < S; ++r) {
        Vec<T> row[S];
        for (int b = 0; b < S; ++b) row[b] = softmax(sums, r * S + b, kernels);
        store_targets<S>(log_sum + (S * tile.y + r) * S * width + S * x, width, row);
      }
    }
  }

  bool run(const Attention* a, const AttentionTensors<T>* t, int64_t begin, int64_t end) const {
    Problem of_keys = p;
    of_keys.channels = a->key_channels;
    const Scores scores{of_keys};
    typename Scores::Walk walk(scores);
    if (!walk) return false;
    return Values{p}.run_rows(t->value.data, t->result.data, begin, end, [&](const ImageRows& at, int64_t y, T* to) {
      const int64_t head = at.image * p.groups + at.group;
      scores.row(walk, at, t->key.data, t->query.data, y, [&](Tile tile, T* sums) {
        weigh(*a, t->bias ? t->bias + head * taps : nullptr, tile, sums, to + tile.first * Values::vector_kernels,
              t->log_sum + head * a->target_pixels());
      });
    });
  }
};

}  // namespace

bool attention_planes(const Attention& a, const AttentionTensors<float>& t, int64_t begin, int64_t end) {
  return specialised<float, AttentionPlanes>(a.planes, &a, &t, begin, end);
}

}  // namespace karaffe::KARAFFE_SET
