// Scatter, channels first, s x s targets a source pixel: a block of channels at a time, rows are transposed to channels
// last, swept, and the result transposed back.
#pragma once
#include "layouts.hpp"
#include "scatter_sweep.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct ScatterPlanes {
  using Sweep = ScatterSweep<T, K, S>;
  static constexpr int64_t B = 64;  // channels transposed together: the kernels are, once for each such block
  static constexpr int64_t kernel_pitch = K * K;

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t target_plane = S * S * width * height;

  // S target rows of `count` planes, from target row S*y on, to pixels.
  void transpose_rows(const T* planes, int64_t count, int64_t y, T* pixels, int64_t pitch) const {
    const int64_t targets = S * width;
    for (int64_t r = 0; r < S; ++r)
      for (int64_t n = 0; n < count; n += lanes<T>)
        for (int64_t v = 0; v < vectors<T>(targets); ++v) {
          const int64_t x = first_pixel<T>(v, targets);
          const T* from = planes + n * target_plane + (S * y + r) * targets + x;
          planes_to_pixels(from, target_plane, count - n, pixels + (r * targets + x) * pitch + n, pitch, targets - x);
        }
  }
  void transpose_result(const T* pixels, int64_t count, T* planes) const {
    for (int64_t n = 0; n < count; n += lanes<T>)
      for (int64_t v = 0; v < vectors<T>(width); ++v) {
        const int64_t x = first_pixel<T>(v, width);
        pixels_to_planes(pixels + x * B + n, B, width - x, planes + n * width * height + x, width * height, count - n);
      }
  }

  bool run(const T* kernels, const T* query, T* result, int64_t begin, int64_t end) const {
    const Sweep sweep{width, p.border, B, kernel_pitch, B};
    const int64_t query_rows = S * sweep.query_row, kernel_rows = S * sweep.kernel_row;
    Scratch<T> query_ring(K * query_rows), kernel_ring(K * kernel_rows), row(width * B);
    if (!query_ring || !kernel_ring || !row) return false;
    return for_each_image(p, begin, end, [&](ImageRows at) {
      const T* kernel = kernels + at.first_value(p, K * K, target_plane);
      for (int64_t c = 0; c < p.channels; c += B) {
        const int64_t count = lesser(B, p.channels - c);
        const T* from = query + at.first_value(p, p.channels, target_plane) + c * target_plane;
        T* to = result + at.first_value(p, p.channels, height * width) + c * height * width;
        int64_t read = greater(0, at.first - K / 2);
        for (int64_t y = at.first; y < at.last; ++y) {
          for (; read <= lesser(height - 1, y + K / 2); ++read) {
            transpose_rows(from, count, read, query_ring.get() + read % K * query_rows, B);
            transpose_rows(kernel, K * K, read, kernel_ring.get() + read % K * kernel_rows, kernel_pitch);
          }
          const RowReaders<K> rows(p, y);
          typename Sweep::Reader readers[K * K];
          for (int n = 0; n < rows.count; ++n)
            readers[n] = {kernel_ring.get() + rows.pair[n].from % K * kernel_rows + rows.pair[n].tap * K,
                          query_ring.get() + rows.pair[n].from % K * query_rows};
          sweep.row_of(readers, rows.count, row.get(), count);
          transpose_result(row.get(), count, to + y * width);
        }
      }
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
