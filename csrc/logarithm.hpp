// The logarithm of a vector.
#pragma once
#include "exponential.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
struct Logarithm;
template <>
struct Logarithm<float> {
  static constexpr int terms = 5;
  static constexpr int32_t bias = 127, root_half = 0x3f3504f3;
};
template <>
struct Logarithm<double> {
  static constexpr int terms = 11;
  static constexpr int64_t bias = 1023, root_half = 0x3fe6a09e667f3bcd;
};

// ln x of positive normal numbers: the exponent's part, and the series of 2 artanh((m - 1) / (m + 1)) for a mantissa m
// about 1.
template <class T>
KARAFFE_INLINE Vec<T> logarithm(Vec<T> x) {
  using E = Exponential<T>;
  using L = Logarithm<T>;
  typedef typename E::Bits Bits;
  constexpr auto one = L::bias << E::mantissa, half_range = one - L::root_half;
  const Bits exponent = ((Bits)x + half_range) >> E::mantissa;
  const Vec<T> m = (Vec<T>)((Bits)x - (exponent << E::mantissa) + one);
  const Vec<T> n = __builtin_convertvector(exponent - L::bias, Vec<T>), s = (m - 1) / (m + 1), square = s * s;
  Vec<T> sum = splat(T(1) / (2 * L::terms + 1));
#pragma GCC unroll 16
  for (int k = L::terms - 1; k >= 0; --k) sum = sum * square + T(1) / (2 * k + 1);
  return n * E::ln2_high + (2 * s * sum + n * E::ln2_low);
}

}  // namespace karaffe::KARAFFE_SET
