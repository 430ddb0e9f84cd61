// The arithmetic of local attention, on R targets that share a window. Channels ride in the lanes. Weights and scores
// are [tap][R]; pixels of the window are told by offset, in taps that need not follow any pattern.
#pragma once
#include "logarithm.hpp"
#include "pixels.hpp"

namespace karaffe::KARAFFE_SET {

// Sums kept in registers together, a multiple of the lanes; and the most targets that share a pass over a window.
template <class T>
constexpr int sums_at_once = lanes<T> > 8 ? lanes<T> : 8;
template <class T>
constexpr int most_targets = lanes<T> < 4 ? lanes<T> : 4;

// Lane l of the result is the sum of the lanes of v[l].
template <class T>
KARAFFE_INLINE Vec<T> sums_of_lanes(const Vec<T>* v) {
  using P = Permute<T>;
  constexpr int n = lanes<T>, w = P::block;
  Vec<T> block[n / w];  // of w vectors, the sums within each 128-bit block
#pragma GCC unroll 16
  for (int i = 0; i < n; i += w) {
    const Vec<T> a = P::template block_low<1>(v[i], v[i + 1]) + P::template block_high<1>(v[i], v[i + 1]);
    if constexpr (w == 2) {
      block[i / w] = a;
    } else {
      const Vec<T> b = P::template block_low<1>(v[i + 2], v[i + 3]) + P::template block_high<1>(v[i + 2], v[i + 3]);
      block[i / w] = P::template block_low<2>(a, b) + P::template block_high<2>(a, b);
    }
  }
  if constexpr (n / w == 1) {
    return block[0];
  } else if constexpr (n / w == 2) {
    return P::even_blocks(block[0], block[1]) + P::odd_blocks(block[0], block[1]);
  } else {
    const Vec<T> a = P::even_blocks(block[0], block[1]) + P::odd_blocks(block[0], block[1]);
    const Vec<T> b = P::even_blocks(block[2], block[3]) + P::odd_blocks(block[2], block[3]);
    return P::even_blocks(a, b) + P::odd_blocks(a, b);
  }
}

// scores[tap][R] = sum over the channels of query[r] * key[tap], for the taps of one block of sums.
template <int R, class T>
KARAFFE_INLINE void score_block(const T* const (&query)[R], const T* keys, const int64_t* offset, int64_t channels,
                                T* scores) {
  constexpr int A = sums_at_once<T>, taps = A / R;
  Vec<T> acc[A] = {};
  const auto step = [&](int64_t c, const Vec<T>(&q)[R]) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int t = 0; t < taps; ++t) {
      const Vec<T> k = load(keys + offset[t] + c);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[t * R + r] += q[r] * k;
    }
  };
  Vec<T> q[R];
  int64_t c = 0;
  for (; c + lanes<T> <= channels; c += lanes<T>) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) q[r] = load(query[r] + c);
    step(c, q);
  }
  if (c < channels) {
    for (int r = 0; r < R; ++r) q[r] = load_first(query[r] + c, static_cast<int>(channels - c));
    step(c, q);
  }
#pragma GCC unroll 4
  for (int a = 0; a < A; a += lanes<T>) store(scores + a, sums_of_lanes<T>(acc + a));
}

// The same for all taps; their number is rounded up to whole blocks.
template <int R, class T>
KARAFFE_INLINE void score(const T* const (&query)[R], const T* keys, const int64_t* offset, int64_t taps,
                          int64_t channels, T* scores) {
  constexpr int at_once = sums_at_once<T> / R;
  for (int64_t t = 0; t < taps; t += at_once)
    score_block<R, T>(query, keys, offset + t, channels, scores + t * R);
}

// Lane l is lane (l + H) modulo their number.
template <int H, class T, int... I>
KARAFFE_INLINE Vec<T> rotated(Vec<T> a, Shuffle<T, I...>*) {
  return __builtin_shufflevector(a, a, ((I + H) % lanes<T>)...);
}

// Lane l holds something of target l modulo R: all lanes of a target combined, in each of them.
template <int R, class T, class Combine, int Half = lanes<T> / 2>
KARAFFE_INLINE Vec<T> across_lanes(Vec<T> v, Combine combine) {
  if constexpr (Half < R) return v;
  else return across_lanes<R, T, Combine, Half / 2>(combine(v, rotated<Half, T>(v, static_cast<Permute<T>*>(nullptr))), combine);
}

// result[r][channel] = sum over the taps of weight[tap][r] * pixel[tap][channel], for CV vectors of channels.
template <int R, int CV, class T>
KARAFFE_INLINE void mix(const T* weight, const T* pixels, const int64_t* offset, int64_t taps, Vec<T> (&acc)[R][CV]) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < CV; ++v) acc[r][v] = Vec<T>{};
  for (int64_t t = 0; t < taps; ++t, weight += R) {
    const T* pixel = pixels + offset[t];
    Vec<T> p[CV];
#pragma GCC unroll 16
    for (int v = 0; v < CV; ++v) p[v] = load(pixel + v * lanes<T>);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec<T> w = splat(weight[r]);
#pragma GCC unroll 16
      for (int v = 0; v < CV; ++v) acc[r][v] += w * p[v];
    }
  }
}

// pixel[tap][channel] += sum over r of weight[tap][r] * from[r][channel], for CV vectors of channels.
template <int R, int CV, class T>
KARAFFE_INLINE void spread(const T* weight, const Vec<T> (&from)[R][CV], T* pixels, const int64_t* offset,
                           int64_t taps) {
  for (int64_t t = 0; t < taps; ++t, weight += R) {
    T* pixel = pixels + offset[t];
    Vec<T> p[CV];
#pragma GCC unroll 16
    for (int v = 0; v < CV; ++v) p[v] = load(pixel + v * lanes<T>);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec<T> w = splat(weight[r]);
#pragma GCC unroll 16
      for (int v = 0; v < CV; ++v) p[v] += w * from[r][v];
    }
#pragma GCC unroll 16
    for (int v = 0; v < CV; ++v) store(pixel + v * lanes<T>, p[v]);
  }
}

}  // namespace karaffe::KARAFFE_SET
