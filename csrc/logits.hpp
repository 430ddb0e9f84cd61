// Reassembly kernels from a content encoder's logits, a source row at a time, so that they are never in memory whole.
// Logits are (batch, groups * taps * s², height, width); channel (tap * s² + phase) of a group.
#pragma once
#include "layouts.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
struct Exponential;
template <>
struct Exponential<float> {
  typedef int32_t Bits __attribute__((vector_size(register_bytes)));
  static constexpr int mantissa = 23, terms = 7;
  static constexpr float lowest = -87.f, highest = 88.f, to_integer = 12582912.f;  // 1.5 * 2^mantissa
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;       // high: exact times any exponent
};
template <>
struct Exponential<double> {
  typedef int64_t Bits __attribute__((vector_size(register_bytes)));
  static constexpr int mantissa = 52, terms = 13;
  static constexpr double lowest = -708., highest = 709., to_integer = 6755399441055744.;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
};

// e^x: the power series about the nearest multiple of ln 2, whose power of two goes into the exponent's bits.
template <class T>
KARAFFE_INLINE Vec<T> exponential(Vec<T> x) {
  using E = Exponential<T>;
  x = x < E::lowest ? splat<T>(E::lowest) : x;
  x = x > E::highest ? splat<T>(E::highest) : x;
  const Vec<T> shifted = x * static_cast<T>(1.44269504088896340736) + E::to_integer;
  const Vec<T> n = shifted - E::to_integer, r = x - n * E::ln2_high - n * E::ln2_low;
  Vec<T> sum = splat<T>(1);
#pragma GCC unroll 16
  for (int k = E::terms; k > 0; --k) sum = sum * r * (T(1) / k) + T(1);
  typedef typename E::Bits Bits;
  return (Vec<T>)((Bits)sum + ((Bits)shifted << E::mantissa));
}

template <class T, int K, int S>
struct LogitRows {
  static constexpr int taps = K * K, F = S * S;
  static constexpr int64_t vector_kernels = taps * F * lanes<T>;

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;

  // Where tap t of phase f lies among the kernels of one vector of pixels, phases in passes of P.
  template <int P>
  static constexpr int64_t slot(int t, int f) {
    return static_cast<int64_t>((f / P * taps + t) * P + f % P) * lanes<T>;
  }

  // The kernels of phase f of a vector of pixels, in place.
  template <int P>
  void normalize(T* at, int f) const {
    if (p.normalizer == Normalizer::none) return;
    Vec<T> most = load(at + slot<P>(0, f)), total = {};
    for (int t = 1; t < taps; ++t) {
      const Vec<T> x = load(at + slot<P>(t, f));
      most = most > x ? most : x;
    }
    for (int t = 0; t < taps; ++t) {
      Vec<T> x = load(at + slot<P>(t, f));
      if (p.normalizer == Normalizer::softmax) x = exponential<T>(x - most);
      else if (p.normalizer != Normalizer::sum) x = T(1) / (T(1) + exponential<T>(-x));
      store(at + slot<P>(t, f), x);
      total += x;
    }
    if (p.normalizer == Normalizer::sigmoid) return;
    const Vec<T> scale = T(1) / total;
    for (int t = 0; t < taps; ++t) store(at + slot<P>(t, f), load(at + slot<P>(t, f)) * scale);
  }

  // Source row y of planes, to[vector][slot]. Row after row is read whole: planes lie a page or more apart.
  template <int P>
  void from_planes(const T* logits, int64_t y, T* to) const {
    for (int n = 0; n < taps * F; ++n) {
      const T* row = logits + (n * height + y) * width;
      if (y + 1 < height) prefetch(row + width, width);
      for (int64_t v = 0; v < vectors<T>(width); ++v) {
        Vec<T> x[1];
        load_targets<1>(row + first_pixel<T>(v, width), width, x);
        store(to + v * vector_kernels + slot<P>(n / F, n % F), x[0]);
      }
    }
    for (int64_t v = 0; v < vectors<T>(width); ++v)
      for (int f = 0; f < F; ++f) normalize<P>(to + v * vector_kernels, f);
  }

  // Source row y of pixels, to[target of the S rows][tap]; `vector` is room for one vector of pixels.
  void from_pixels(const T* logits, int64_t y, T* vector, T* to) const {
    const int64_t pitch = p.groups * taps * F;
    for (int64_t v = 0; v < vectors<T>(width); ++v) {
      const int64_t x = first_pixel<T>(v, width);
      for (int n = 0; n < taps * F; n += lanes<T>)
        pixels_to_planes(logits + (y * width + x) * pitch + n, pitch, width - x, vector + n * lanes<T>, lanes<T>,
                         taps * F - n);
      for (int f = 0; f < F; ++f) {
        normalize<F>(vector, f);
        for (int t = 0; t < taps; t += lanes<T>)
          planes_to_pixels(vector + slot<F>(t, f), F * lanes<T>, taps - t,
                           to + (f / S * S * width + S * x + f % S) * taps + t, S * taps, width - x);
      }
    }
  }
};

}  // namespace karaffe::KARAFFE_SET
