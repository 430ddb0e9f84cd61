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
  int64_t pixel_pitch = p.groups * p.channels;

  // One source row as the blocks see it; `kernels` and `result` are of its first target.
  struct Row {
    const PixelRing<T, K, B>& ring;
    const T* kernels;
    int64_t kernel_pitch;
    T* result;
    int64_t y;
  };

  // CV vectors of channels of the targets of one source pixel; `kernel` and `to` are of the first target.
  template <int CV>
  KARAFFE_INLINE void pixel(const T* const (&rows)[K], const T* kernel, int64_t kernel_pitch, T* to,
                            int64_t count) const {
    const T* kernels[phases];
#pragma GCC unroll 8
    for (int f = 0; f < phases; ++f) {
      kernels[f] = kernel + (f / S * S * width + f % S) * kernel_pitch;
      prefetch_to_write(to + (f / S * S * width + f % S + 2 * S) * pixel_pitch, CV * lanes<T>);  // two pixels ahead
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

  // Block b of channels, of as many vectors as it needs.
  template <int CV = block_vectors>
  void block(const Row& at, int64_t b) const {
    if constexpr (CV > 1)
      if (p.channels - b * B <= (CV - 1) * lanes<T>) return block<CV - 1>(at, b);
    const T* rows[K];
    for (int i = 0; i < K; ++i) rows[i] = at.ring.row(b, at.y + i - K / 2);
    for (int64_t x = 0; x < width; ++x) {
      for (int pass = 0; pass < passes; ++pass) {
        const int64_t target = pass * (phases / S) * S * width + S * x;
        pixel<CV>(rows, at.kernels + target * at.kernel_pitch, at.kernel_pitch,
                  at.result + target * pixel_pitch + b * B, p.channels - b * B);
      }
      for (int i = 0; i < K; ++i) rows[i] += B;
    }
  }

  // `kernels_of(at, y)` gives the kernels of the first target of source row y, those of targets kernel_pitch apart.
  template <class KernelsOf>
  bool run_rows(const T* source, T* result, int64_t begin, int64_t end, int64_t kernel_pitch,
                KernelsOf kernels_of) const {
    PixelRing<T, K, B> ring(p);
    if (!ring) return false;
    return for_each_image(p, begin, end, [&](ImageRows at) {
      const T* image = source + at.first_value(p, p.channels, height * width);
      T* to = result + at.first_value(p, p.channels, S * S * height * width);
      for (int64_t y = at.first - K / 2; y < at.first + K / 2; ++y) ring.fill(image, y);
      for (int64_t y = at.first; y < at.last; ++y) {
        ring.fill(image, y + K / 2);
        const Row row{ring, kernels_of(at, y), kernel_pitch, to + y * S * S * width * pixel_pitch, y};
        for (int64_t b = 0; b * B < p.channels; ++b) block(row, b);
      }
    });
  }

  bool run(const T* source, const T* kernels, T* result, int64_t begin, int64_t end) const {
    const int64_t pitch = p.groups * K * K, targets = S * S * height * width;
    return run_rows(source, result, begin, end, pitch, [&](const ImageRows& at, int64_t y) {
      return kernels + at.first_value(p, K * K, targets) + y * S * S * width * pitch;
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
