// Scatter, channels last, s x s targets a source pixel: the sweep over the tensors as they are.
#pragma once
#include "scatter_sweep.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct ScatterPixels {
  using Sweep = ScatterSweep<T, K, S>;
  static constexpr int64_t B = 64;  // channels whose targets in reach stay in the second cache from row to row

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t pixel_pitch = p.groups * p.channels, kernel_pitch = p.groups * K * K;

  bool run(const T* kernels, const T* query, T* result, int64_t begin, int64_t end) const {
    const Sweep sweep{width, p.border, pixel_pitch, kernel_pitch, pixel_pitch};
    return for_each_image(p, begin, end, [&](ImageRows at) {
      const int64_t targets = S * S * height * width;
      const T* kernel = kernels + at.first_value(p, K * K, targets);
      const T* from = query + at.first_value(p, p.channels, targets);
      T* to = result + at.first_value(p, p.channels, height * width);
      for (int64_t c = 0; c < p.channels; c += B)
        for (int64_t y = at.first; y < at.last; ++y) {
          const RowReaders<K> rows(p, y);
          typename Sweep::Reader readers[K * K];
          for (int n = 0; n < rows.count; ++n)
            readers[n] = {kernel + rows.pair[n].from * S * sweep.kernel_row + rows.pair[n].tap * K,
                          from + rows.pair[n].from * S * sweep.query_row + c};
          sweep.row_of(readers, rows.count, to + y * width * pixel_pitch + c, lesser(B, p.channels - c));
        }
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
