// Reassembly, channels last, s x s targets a source pixel: an (s² x k²)·(k² x channels) product a source pixel.
#pragma once
#include "pixels.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct ReassemblePixels {
  static constexpr int phases = S * S <= 4 ? S * S : S;  // kept in registers together
  static constexpr int passes = S * S / phases;
  static constexpr int block_vectors = register_bytes == 64 ? 4 : 2;
  static constexpr int B = block_vectors * lanes<T>;

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t pixel_pitch = p.groups * p.channels, kernel_pitch = p.groups * K * K;

  // CV vectors of channels of the targets of one source pixel; `kernel` and `to` are of the first target.
  template <int CV>
  KARAFFE_INLINE void pixel(const T* const (&rows)[K], const T* kernel, T* to, int64_t count) const {
    const T* kernels[phases];
#pragma GCC unroll 8
    for (int f = 0; f < phases; ++f) {
      kernels[f] = kernel + (f / S * S * width + f % S) * kernel_pitch;
      prefetch_to_write(to + (f / S * S * width + f % S) * pixel_pitch, CV * lanes<T>);
    }
    Vec<T> acc[phases][CV] = {};
    for (int i = 0; i < K; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j) {
        Vec<T> v[CV];
#pragma GCC unroll 8
        for (int c = 0; c < CV; ++c) v[c] = load(rows[i] + j * B + c * lanes<T>);
#pragma GCC unroll 8
        for (int f = 0; f < phases; ++f) {
          const Vec<T> a = splat(kernels[f][i * K + j]);
#pragma GCC unroll 8
          for (int c = 0; c < CV; ++c) acc[f][c] += a * v[c];
        }
      }
#pragma GCC unroll 8
    for (int f = 0; f < phases; ++f)
      store_channels<CV>(to + (f / S * S * width + f % S) * pixel_pitch, count, acc[f]);
  }

  // Source row y, block b of channels.
  template <int CV>
  void row(const PixelRing<T, K, B>& ring, const T* kernels, T* result, int64_t y, int64_t b) const {
    const T* rows[K];
    for (int i = 0; i < K; ++i) rows[i] = ring.row(b, y + i - K / 2);
    for (int64_t x = 0; x < width; ++x) {
      for (int pass = 0; pass < passes; ++pass) {
        const int64_t target = (S * y + pass * (phases / S)) * S * width + S * x;
        pixel<CV>(rows, kernels + target * kernel_pitch, result + target * pixel_pitch + b * B, p.channels - b * B);
      }
      for (int i = 0; i < K; ++i) rows[i] += B;
    }
  }

  template <int CV>
  void row_of(int64_t vectors, const PixelRing<T, K, B>& ring, const T* kernels, T* result, int64_t y,
              int64_t b) const {
    if (vectors >= CV) row<CV>(ring, kernels, result, y, b);
    else if constexpr (CV > 1) row_of<CV - 1>(vectors, ring, kernels, result, y, b);
  }

  bool run(const T* source, const T* kernels, T* result, int64_t begin, int64_t end) const {
    PixelRing<T, K, B> ring(p);
    if (!ring) return false;
    return for_each_image(p, begin, end, [&](ImageRows at) {
      const int64_t targets = S * S * height * width;
      const T* image = source + at.first_value(p, p.channels, height * width);
      const T* kernel = kernels + at.first_value(p, K * K, targets);
      T* to = result + at.first_value(p, p.channels, targets);
      for (int64_t y = at.first - K / 2; y < at.first + K / 2; ++y) ring.fill(image, y);
      for (int64_t y = at.first; y < at.last; ++y) {
        ring.fill(image, y + K / 2);
        for (int64_t b = 0; b * B < p.channels; ++b)
          row_of<block_vectors>((p.channels - b * B + lanes<T> - 1) / lanes<T>, ring, kernel, to, y, b);
      }
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
