// One vector type a scalar, as wide as the instruction set this file is compiled for, on GCC / Clang vector
// extensions. Everything that knows an instruction set is here.
//
// The kernel files are compiled once an instruction set. All they define is inside a namespace of its own, and they
// use no inline function of the standard library, whose out-of-line copy the linker could take from the wrong set.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define KARAFFE_INLINE static inline __attribute__((always_inline))

namespace karaffe::KARAFFE_SET {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

template <class T>
struct VectorTypes {
  typedef T aligned __attribute__((vector_size(register_bytes), may_alias));
  typedef T anywhere __attribute__((vector_size(register_bytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vec = typename VectorTypes<T>::aligned;
template <class T>
constexpr int lanes = register_bytes / static_cast<int>(sizeof(T));

template <class T>
KARAFFE_INLINE Vec<T> load(const T* p) { return *reinterpret_cast<const typename VectorTypes<T>::anywhere*>(p); }
template <class T>
KARAFFE_INLINE void store(T* p, Vec<T> v) { *reinterpret_cast<typename VectorTypes<T>::anywhere*>(p) = v; }
template <class T>
KARAFFE_INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }

// The first n lanes, n < lanes: the others read as zero and are not written.
template <class T>
KARAFFE_INLINE Vec<T> load_first(const T* p, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
  else return (Vec<T>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#else
  Vec<T> v = {};
  for (int l = 0; l < n; ++l) v[l] = p[l];
  return v;
#endif
}
template <class T>
KARAFFE_INLINE void store_first(T* p, int n, Vec<T> v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
  else _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#else
  for (int l = 0; l < n; ++l) p[l] = v[l];
#endif
}

template <class T>
KARAFFE_INLINE T sum_of_lanes(Vec<T> v) {
  T parts[lanes<T>];
  store(parts, v);
  for (int half = lanes<T> / 2; half; half /= 2)
    for (int l = 0; l < half; ++l) parts[l] += parts[l + half];
  return parts[0];
}

KARAFFE_INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
KARAFFE_INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
KARAFFE_INLINE int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// Working memory of one call, aligned to a cache line; `get()` is null where there was none to be had.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<T*>(std::aligned_alloc(64, round_up(count * static_cast<int64_t>(sizeof(T)) + 64, 64)))) {}
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  T* data_;
};

}  // namespace karaffe::KARAFFE_SET
