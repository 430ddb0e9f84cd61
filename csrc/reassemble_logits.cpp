// Reassembly with kernels that are made from logits as each row needs them, and its two gradients.
#include "correlate_rows.hpp"
#include "logits.hpp"
#include "reassemble_pixels.hpp"
#include "reassemble_planes.hpp"
#include "scatter_rows.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct LogitPlanes : ReassemblePlanes<T, K, S> {
  bool run(const T* source, const T* logits, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    return this->run_rows(source, result, begin, end, [&](const ImageRows& at, int64_t y, T* to) {
      rows.template kernels<ReassemblePlanes<T, K, S>::phases>(rows.of(logits, at), y, 0, rows.image_vectors, to);
    });
  }
};

template <class T, int K, int S>
struct LogitPixels : ReassemblePixels<T, K, S> {
  bool run(const T* source, const T* logits, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    Scratch<T> vector(rows.vector_kernels), kernels(S * S * rows.width * K * K);
    if (!vector || !kernels) return false;
    return this->run_rows(source, result, begin, end, K * K, [&](const ImageRows& at, int64_t y) {
      for (int64_t v = 0; v < rows.image_vectors; ++v) {
        rows.template kernels<S * S>(rows.of(logits, at), y, v, v + 1, vector.get());
        const int64_t first = S * first_pixel<T>(v, rows.width);
        for (int f = 0; f < S * S; ++f)
          transpose(vector.get() + f * lanes<T>, S * S * lanes<T>, K * K,
                    kernels.get() + (f / S * S * rows.width + first + f % S) * K * K, S * K * K, rows.pixels_in_vector);
      }
      return kernels.get();
    });
  }
};

// The gradient by the source: kernels again, and scattered.
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

// The gradient by the logits: that by the kernels, pulled back a tile at a time.
template <class T, int K, int S>
struct LogitCorrelate : CorrelateRows<T, K, S> {
  using Tile = typename CorrelateRows<T, K, S>::Tile;

  bool run(const T* source, const T* query, const T* logits, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    Scratch<T> kernels(this->tile * rows.vector_kernels);
    if (!kernels) return false;
    return this->run_rows(source, query, begin, end, [&](const ImageRows& at, Tile tile, T* sums) {
      rows.template read<S * S>(rows.of(logits, at), tile.y, tile.first, tile.last, kernels.get());
      for (int64_t v = 0; v < tile.last - tile.first; ++v)
        for (int f = 0; f < S * S; ++f)
          rows.pull_back(kernels.get() + v * rows.vector_kernels, sums + v * rows.vector_kernels, f);
      rows.write(sums, tile.y, tile.first, tile.last, result + at.first_value(this->p, rows.channels, rows.width * rows.height));
    });
  }
};

template <class T>
bool reassemble_logits(const Problem& p, const T* source, const T* logits, T* result, int64_t begin, int64_t end) {
  if (p.channels_last) return specialised<T, LogitPixels>(p, source, logits, result, begin, end);
  return specialised<T, LogitPlanes>(p, source, logits, result, begin, end);
}

template <class T>
bool scatter_logits(const Problem& p, const T* logits, const T* query, T* result, int64_t begin, int64_t end) {
  return specialised<T, LogitScatter>(p, logits, query, result, begin, end);
}

template <class T>
bool correlate_logits(const Problem& p, const T* source, const T* query, const T* logits, T* result, int64_t begin,
                      int64_t end) {
  return specialised<T, LogitCorrelate>(p, source, query, logits, result, begin, end);
}

template bool reassemble_logits(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool scatter_logits(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool correlate_logits(const Problem&, const float*, const float*, const float*, float*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
