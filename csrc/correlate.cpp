// Correlation, and the gradient by the logits that kernels are made from: the same, pulled back a tile at a time.
#include "correlate_rows.hpp"
#include "general.hpp"
#include "logits.hpp"
#include "specialised.hpp"
#include "strided.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct LogitCorrelate : CorrelateRows<T, K, S> {
  using Tile = typename CorrelateRows<T, K, S>::Tile;

  bool run(const T* source, const T* query, const T* logits, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    Scratch<T> kernels(this->tile * rows.vector_kernels);
    if (!kernels) return false;
    return this->run_rows(source, query, begin, end, [&](const ImageRows& at, Tile tile, T* sums) {
      T* to = result + at.first_value(this->p, rows.channels, rows.width * rows.height);
      rows.template read<S * S>(rows.of(logits, at), tile.y, tile.first, tile.last, kernels.get());
      for (int64_t v = 0; v < tile.last - tile.first; ++v)
        for (int f = 0; f < S * S; ++f)
          rows.pull_back(kernels.get() + v * rows.vector_kernels, sums + v * rows.vector_kernels, f);
      rows.write(sums, tile.y, tile.first, tile.last, to);
    });
  }
};

template <class T>
bool correlate(const Problem& p, const T* source, const T* query, T* result, int64_t begin, int64_t end) {
  if constexpr (sizeof(T) == sizeof(float))
    if (p.strided) return Strided<T>{p}.correlate(source, query, result, begin, end);
  if (!p.factor) return correlate_general(p, source, query, result, begin, end);
  return specialised<T, CorrelateRows>(p, source, query, result, begin, end);
}

bool correlate_logits(const Problem& p, const float* source, const float* query, const float* logits, float* result,
                      int64_t begin, int64_t end) {
  return specialised<float, LogitCorrelate>(p, source, query, logits, result, begin, end);
}

template bool correlate(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool correlate(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
