// Scatter, with kernels as they are given or made from logits again: the gradients of reassembly by its source.
#include "general.hpp"
#include "logits.hpp"
#include "scatter_rows.hpp"
#include "specialised.hpp"
#include "strided.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct LogitScatter : ScatterRows<T, K, S> {
  using Tile = typename ScatterRows<T, K, S>::Tile;
  static_assert(ScatterRows<T, K, S>::strip % lanes<T> == 0);

  bool run(const T* logits, const T* query, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    const int64_t tile_vectors = vectors<T>(this->tile);
    Scratch<T> kernels(tile_vectors * rows.vector_kernels);
    if (!kernels) return false;
    return this->run_rows(query, result, begin, end, [&](const ImageRows& at, Tile tile, T* to) {
      const int64_t first = tile.x / lanes<T>, last = first + vectors<T>(tile.count);
      rows.template kernels<S * S>(rows.of(logits, at), tile.y, first, last, kernels.get());
      for (int64_t v = first; v < last; ++v) lay_out(kernels.get() + (v - first) * rows.vector_kernels, v, tile, to);
    });
  }

  // One vector's kernels [tap][phase] to where the sweep wants them. A last vector that was moved back may begin before
  // the tile.
  void lay_out(const T* kernels, int64_t v, Tile tile, T* to) const {
    const int64_t x = first_pixel<T>(v, this->width), before = greater(0, tile.x - x);
    const int64_t count = lesser(lanes<T>, this->width - x) - before;
    for (int i = 0; i < K; ++i)
      for (int f = 0; f < S * S; ++f)
        transpose(kernels + (i * K * S * S + f) * lanes<T> + before, S * S * lanes<T>, K,
                  to + i * this->tap_row + (f / S * this->row_targets + S * (x + before - tile.x) + f % S) * K, S * K,
                  count);
  }
};

template <class T>
bool scatter(const Problem& p, const T* kernels, const T* query, T* result, int64_t begin, int64_t end) {
  if constexpr (sizeof(T) == sizeof(float))
    if (p.strided) return Strided<T>{p}.scatter(kernels, query, result, begin, end);
  if (!p.factor) return scatter_general(p, kernels, query, result, begin, end);
  return specialised<T, ScatterRows>(p, kernels, query, result, begin, end);
}

bool scatter_logits(const Problem& p, const float* logits, const float* query, float* result, int64_t begin,
                    int64_t end) {
  return specialised<float, LogitScatter>(p, logits, query, result, begin, end);
}

template bool scatter(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool scatter(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
