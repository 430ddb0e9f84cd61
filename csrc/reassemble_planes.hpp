// Reassembly, channels first, s x s targets a source pixel. Row by row: the row's kernels are laid out once as
// vectors in the order they are used, and serve all channels; the source comes from a ring of rows, into which the next
// row is read while this one is computed, so that the memory is never waited for all at once.
#pragma once
#include "planes.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct ReassemblePlanes {
  static constexpr int phases = S * S <= 4 ? S * S : S;  // kept in registers together
  static constexpr int passes = S * S / phases;
  static constexpr int accumulators = register_bytes == 64 ? 20 : 12;
  static constexpr int channel_block = accumulators / phases < 8 ? accumulators / phases : 8;
  static constexpr int64_t vector_kernels = K * K * S * S * lanes<T>;  // kernels of one vector of pixels

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t target_plane = S * S * width * height;

  // [vector][pass][tap][phase] from planes [tap] of target rows S*y … S*y + S-1.
  void lay_out_kernels(const T* planes, int64_t y, T* to) const {
    for (int t = 0; t < K * K; ++t)
      for (int a = 0; a < S; ++a) {
        const T* row = planes + t * target_plane + (S * y + a) * S * width;
        for (int64_t v = 0; v < vectors<T>(width); ++v) {
          Vec<T> phase[S];
          load_targets<S>(row + S * first_pixel<T>(v, width), width, phase);
          for (int b = 0; b < S; ++b) {
            const int f = a * S + b;
            store(to + v * vector_kernels + ((f / phases * K * K + t) * phases + f % phases) * lanes<T>, phase[b]);
          }
        }
      }
  }

  // One vector of pixels of CB channels.
  template <int CB>
  static KARAFFE_INLINE void block(const T* kernel, const T* const (&rows)[K], int64_t channel_pitch, T* to,
                            int64_t target_plane, int64_t width) {
    Vec<T> acc[phases][CB] = {};
#pragma GCC unroll 8
    for (int i = 0; i < K; ++i) {
      for (int c = i; c < CB; c += K)  // of the next channels
        for (int a = 0; a < phases / S; ++a)
          prefetch_to_write(to + (c + CB) * target_plane + a * S * width, S * lanes<T>);
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j, kernel += phases * lanes<T>) {
        Vec<T> v[CB];
#pragma GCC unroll 8
        for (int c = 0; c < CB; ++c) {
          v[c] = load(rows[i] + c * channel_pitch + j);
          keep(v[c]);
        }
#pragma GCC unroll 8
        for (int f = 0; f < phases; ++f) {
          Vec<T> a = load(kernel + f * lanes<T>);
          keep(a);
#pragma GCC unroll 8
          for (int c = 0; c < CB; ++c) acc[f][c] += a * v[c];
        }
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < CB; ++c)
#pragma GCC unroll 8
      for (int a = 0; a < phases / S; ++a) {
        Vec<T> row[S];
#pragma GCC unroll 8
        for (int b = 0; b < S; ++b) row[b] = acc[a * S + b][c];
        store_targets<S>(to + c * target_plane + a * S * width, width, row);
      }
  }

  // One source row and one image as the blocks see them.
  struct Row {
    RowRing<T, K, K + 1>& ring;
    const T *planes, *kernels;
    T* result;
    int64_t y;
  };

  // Vectors v0 … v1-1 of a row; channels by blocks of CB, then the rest by blocks of half as many.
  template <int CB>
  void channels(const Row& at, int64_t v0, int64_t v1, int64_t c) const {
    RowRing<T, K, K + 1>& ring = at.ring;
    for (; c + CB <= p.channels; c += CB) {
      ring.foresee(at.planes, at.y + K / 2 + 1, c, CB, v0 * lanes<T>, (v1 - v0) * lanes<T>);
      for (int64_t v = v0; v < v1; ++v) {
        const int64_t x = first_pixel<T>(v, width);
        const T* rows[K];
        for (int i = 0; i < K; ++i) rows[i] = ring.row(at.y + i - K / 2) + c * ring.channel_pitch() + x - K / 2;
        for (int pass = 0; pass < passes; ++pass)
          block<CB>(at.kernels + v * vector_kernels + pass * (vector_kernels / passes), rows, ring.channel_pitch(),
                    at.result + c * target_plane + (S * at.y + pass * (phases / S)) * S * width + S * x,
                    target_plane, width);
      }
      if (v1 == vectors<T>(width)) ring.fill(at.planes, at.y + K / 2 + 1, c, CB);
    }
    if constexpr (CB > 1)
      if (c < p.channels) channels<CB / 2>(at, v0, v1, c);
  }

  // `lay_out(at, y, to)` lays the kernels of source row y out.
  template <class LayOut>
  bool run_rows(const T* source, T* result, int64_t begin, int64_t end, LayOut lay_out) const {
    constexpr int64_t tile = 8;  // vectors whose kernels stay in the caches while all channels pass
    const int64_t count = vectors<T>(width);
    Scratch<T> laid_out(count * vector_kernels);
    RowRing<T, K, K + 1> ring(p);
    if (!laid_out || !ring) return false;
    return for_each_image(p, begin, end, [&](ImageRows at) {
      const T* planes = source + at.first_value(p, p.channels, height * width);
      T* out = result + at.first_value(p, p.channels, target_plane);
      for (int64_t y = at.first - K / 2; y <= at.first + K / 2; ++y) ring.fill(planes, y);
      for (int64_t y = at.first; y < at.last; ++y) {
        lay_out(at, y, laid_out.get());
        const Row row{ring, planes, laid_out.get(), out, y};
        for (int64_t v = 0; v < count; v += tile) channels<channel_block>(row, v, lesser(count, v + tile), 0);
      }
    });
  }

  bool run(const T* source, const T* kernels, T* result, int64_t begin, int64_t end) const {
    return run_rows(source, result, begin, end, [&](const ImageRows& at, int64_t y, T* to) {
      lay_out_kernels(kernels + at.first_value(p, K * K, target_plane), y, to);
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
