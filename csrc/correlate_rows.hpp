// Correlation, s x s targets a source pixel, in both layouts: pixels ride in the lanes, so that no lane sums are
// needed. A vector of pixels at a time: its query is laid out by phase for a chunk of channels, and each row of taps
// keeps taps x phases sums in registers while the channels pass.
#pragma once
#include "planes.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct CorrelateRows {
  static constexpr int F = S * S;
  static constexpr int phases = F <= 4 ? F : S;  // kept in registers together
  static constexpr int budget = (register_bytes == 64 ? 20 : 12) / phases;
  static constexpr int taps = K <= budget ? K : budget;  // of one row, likewise
  static constexpr int64_t chunk = 64;                   // channels whose query stays in the first cache

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t pixel_pitch = p.channels_last ? p.groups * p.channels : 1;
  int64_t target_plane = F * width * height;

  // to[channel][phase] of `count` channels from channel c on, source pixels x … of row y.
  void lay_out_query(const T* query, int64_t y, int64_t x, int64_t c, int64_t count, T* to) const {
    const int64_t first = S * y * S * width + S * x;
    if (p.channels_last) {
      for (int f = 0; f < F; ++f)
        for (int64_t n = 0; n < count; n += lanes<T>)
          pixels_to_planes(query + (first + f / S * S * width + f % S) * pixel_pitch + c + n, S * pixel_pitch, width,
                           to + (n * F + f) * lanes<T>, F * lanes<T>, count - n);
      return;
    }
    for (int64_t n = 0; n < count; ++n)
      for (int a = 0; a < S; ++a) {
        const T* row = query + (c + n) * target_plane + first + a * S * width;
        prefetch(row + S * lanes<T>, S * lanes<T>);
        Vec<T> phase[S];
        load_targets<S>(row, width, phase);
        for (int b = 0; b < S; ++b) store(to + (n * F + a * S + b) * lanes<T>, phase[b]);
      }
  }

  // sums[tap][phase] += over `count` channels, TN taps of a row and the phases of a pass.
  template <int TN>
  static KARAFFE_INLINE void block(const T* source, int64_t channel_pitch, const T* query, int64_t count, T* sums) {
    Vec<T> acc[TN][phases];
#pragma GCC unroll 8
    for (int j = 0; j < TN; ++j)
#pragma GCC unroll 8
      for (int f = 0; f < phases; ++f) acc[j][f] = load(sums + (j * F + f) * lanes<T>);
    for (int64_t c = 0; c < count; ++c, source += channel_pitch, query += F * lanes<T>) {
      Vec<T> q[phases];
#pragma GCC unroll 8
      for (int f = 0; f < phases; ++f) q[f] = load(query + f * lanes<T>);
#pragma GCC unroll 8
      for (int j = 0; j < TN; ++j) {
        const Vec<T> v = load(source + j);
#pragma GCC unroll 8
        for (int f = 0; f < phases; ++f) acc[j][f] += v * q[f];
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < TN; ++j)
#pragma GCC unroll 8
      for (int f = 0; f < phases; ++f) store(sums + (j * F + f) * lanes<T>, acc[j][f]);
  }

  template <int TN>
  static KARAFFE_INLINE void row_of_taps(const T* source, int64_t channel_pitch, const T* query, int64_t count,
                                         T* sums) {
    int j = 0;
    for (; j + TN <= K; j += TN)
      for (int f = 0; f < F; f += phases)
        block<TN>(source + j, channel_pitch, query + f * lanes<T>, count, sums + (j * F + f) * lanes<T>);
    if constexpr (K % TN != 0)
      for (int f = 0; f < F; f += phases)
        block<K % TN>(source + j, channel_pitch, query + f * lanes<T>, count, sums + (j * F + f) * lanes<T>);
  }

  // The sums [tap][phase] of source pixels x … of row y into the kernels of their targets.
  void write(const T* sums, int64_t y, int64_t x, T* kernels) const {
    const int64_t first = S * y * S * width + S * x;
    if (p.channels_last) {
      const int64_t pitch = p.groups * K * K;
      for (int f = 0; f < F; ++f)
        for (int t = 0; t < K * K; t += lanes<T>)
          planes_to_pixels(sums + (t * F + f) * lanes<T>, F * lanes<T>, K * K - t,
                           kernels + (first + f / S * S * width + f % S) * pitch + t, S * pitch, width);
      return;
    }
    for (int t = 0; t < K * K; ++t)
      for (int a = 0; a < S; ++a) {
        Vec<T> phase[S];
        for (int b = 0; b < S; ++b) phase[b] = load(sums + (t * F + a * S + b) * lanes<T>);
        store_targets<S>(kernels + t * target_plane + first + a * S * width, width, phase);
      }
  }

  bool run(const T* source, const T* query, T* kernels, int64_t begin, int64_t end) const {
    Scratch<T> sums(K * K * F * lanes<T>), laid_out(lesser(chunk, p.channels) * F * lanes<T>);
    RowRing<T, K> ring(p);
    if (!sums || !laid_out || !ring) return false;
    return for_each_image(p, begin, end, [&](ImageRows at) {
      const T* image = source + at.first_value(p, p.channels, width * height);
      const T* targets = query + at.first_value(p, p.channels, target_plane);
      T* to = kernels + at.first_value(p, K * K, target_plane);
      for (int64_t y = at.first - K / 2; y < at.first + K / 2; ++y) ring.fill(image, y);
      for (int64_t y = at.first; y < at.last; ++y) {
        ring.fill(image, y + K / 2);
        for (int64_t v = 0; v < vectors<T>(width); ++v) {
          const int64_t x = first_pixel<T>(v, width);
          std::memset(sums.get(), 0, K * K * F * lanes<T> * sizeof(T));
          for (int64_t c = 0; c < p.channels; c += chunk) {
            const int64_t count = lesser(chunk, p.channels - c);
            lay_out_query(targets, y, x, c, count, laid_out.get());
            for (int i = 0; i < K; ++i)
              row_of_taps<taps>(ring.row(y + i - K / 2) + c * ring.channel_pitch() + x - K / 2, ring.channel_pitch(),
                                laid_out.get(), count, sums.get() + i * K * F * lanes<T>);
          }
          write(sums.get(), y, x, to);
        }
      }
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
