// One result row of scatter: a sweep along the targets with the K results in reach of them in registers, channels in
// the lanes.
#pragma once
#include "pixels.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct ScatterSweep {
  static constexpr int block_vectors = register_bytes == 64 ? (K <= 5 ? 4 : 3) : (K <= 3 ? 4 : K <= 5 ? 2 : 1);

  // The S x S targets of a source row's pixels: kernels of one row of taps, and their query.
  struct Reader {
    const T *kernel, *query;
  };

  int64_t width;
  Border border;
  int64_t query_pitch, kernel_pitch, result_pitch;  // from pixel to pixel
  int64_t query_row = S * width * query_pitch, kernel_row = S * width * kernel_pitch;

  // Adds what the targets of source pixel x send to results x-K/2 … x+K/2.
  template <bool Full, int CV>
  KARAFFE_INLINE void targets(const Reader& from, int64_t x, int64_t count, Vec<T> (&acc)[K][CV]) const {
    const T *kernel = from.kernel + S * x * kernel_pitch, *query = from.query + S * x * query_pitch;
    for (int r = 0; r < S; ++r, kernel += kernel_row, query += query_row)
#pragma GCC unroll 4
      for (int b = 0; b < S; ++b) {
        prefetch(query + (2 * S + b) * query_pitch, CV * lanes<T>);  // two source pixels ahead
        Vec<T> q[CV];
        // known at compile time: a choice in the innermost loop was measured to double its time
        load_channels<CV>(query + b * query_pitch, Full ? CV * lanes<T> : count, q);
#pragma GCC unroll 8
        for (int j = 0; j < K; ++j) {
          const Vec<T> a = splat(kernel[b * kernel_pitch + j]);
#pragma GCC unroll 8
          for (int c = 0; c < CV; ++c) acc[j][c] += a * q[c];
        }
      }
  }

  // One result row, from all rows that are read by it: CV vectors of channels, or (not Full) the first `count` of them.
  template <int CV, bool Full>
  void row(const Reader* readers, int reader_count, T* result, int64_t count) const {
    Vec<T> acc[K][CV] = {}, left[K / 2][CV] = {};
    for (int64_t x = 0; x < width + K / 2; ++x) {
      for (int n = 0; x < width && n < reader_count; ++n) targets<Full>(readers[n], x, count, acc);
      const int64_t done = x - K / 2;
      if (done >= 0) store_channels<CV>(result + done * result_pitch, count, acc[0]);
      else copy(left[x], acc[0]);
#pragma GCC unroll 8
      for (int j = 0; j + 1 < K; ++j) copy(acc[j], acc[j + 1]);
#pragma GCC unroll 8
      for (int c = 0; c < CV; ++c) acc[K - 1][c] = Vec<T>{};
    }
    if (border == Border::zeros) return;
    for (int m = 0; m < K / 2; ++m) {
      add<CV>(result + fold(m - K / 2, width, border) * result_pitch, count, left[m]);
      add<CV>(result + fold(width + m, width, border) * result_pitch, count, acc[m]);
    }
  }

  // The same for any number of channels: blocks of CV vectors, then of fewer, then what is less than a vector.
  template <int CV = block_vectors>
  void row_of(const Reader* readers, int reader_count, T* result, int64_t channels) const {
    Reader block[K * K];
    int64_t c = 0;
    const auto at = [&](int64_t channel) {
      for (int n = 0; n < reader_count; ++n) block[n] = {readers[n].kernel, readers[n].query + channel};
      return static_cast<const Reader*>(block);
    };
    for (; c + CV * lanes<T> <= channels; c += CV * lanes<T>)
      row<CV, true>(at(c), reader_count, result + c, CV * lanes<T>);
    if (c == channels) return;
    if constexpr (CV > 1) row_of<CV - 1>(at(c), reader_count, result + c, channels - c);
    else row<1, false>(at(c), reader_count, result + c, channels - c);
  }

 private:
  template <int CV>
  static KARAFFE_INLINE void copy(Vec<T> (&to)[CV], const Vec<T> (&from)[CV]) {
#pragma GCC unroll 8
    for (int c = 0; c < CV; ++c) to[c] = from[c];
  }
  template <int CV>
  static void add(T* result, int64_t count, const Vec<T> (&v)[CV]) {
    Vec<T> sum[CV];
    load_channels<CV>(result, count, sum);
    for (int c = 0; c < CV; ++c) sum[c] += v[c];
    store_channels<CV>(result, count, sum);
  }
};

}  // namespace karaffe::KARAFFE_SET
