// The exponential function of a vector, and the logarithm of a number.
#pragma once
#include "simd.hpp"

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

template <class T>
constexpr T inverse_factorial(int k) {
  T value = 1;
  for (; k > 1; --k) value /= k;
  return value;
}

// e^x: the power series about the nearest multiple of ln 2, whose power of two goes into the exponent's bits.
template <class T>
KARAFFE_INLINE Vec<T> exponential(Vec<T> x) {
  using E = Exponential<T>;
  x = x < E::lowest ? splat<T>(E::lowest) : x;
  x = x > E::highest ? splat<T>(E::highest) : x;
  const Vec<T> shifted = x * static_cast<T>(1.44269504088896340736) + E::to_integer;
  const Vec<T> n = shifted - E::to_integer, r = x - n * E::ln2_high - n * E::ln2_low;
  Vec<T> sum = splat<T>(inverse_factorial<T>(E::terms));
#pragma GCC unroll 16
  for (int k = E::terms; k > 0; --k) sum = sum * r + inverse_factorial<T>(k - 1);
  typedef typename E::Bits Bits;
  return (Vec<T>)((Bits)sum + ((Bits)shifted << E::mantissa));
}

KARAFFE_INLINE float logarithm(float x) { return __builtin_logf(x); }
KARAFFE_INLINE double logarithm(double x) { return __builtin_log(x); }

}  // namespace karaffe::KARAFFE_SET
