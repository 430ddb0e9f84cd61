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

#define KARAFFE_INLINE inline __attribute__((always_inline))

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

// Have v in a register from here on, where the compiler would rather read it from memory again for every use.
template <class V>
KARAFFE_INLINE void keep(V& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__AVX__)
  asm("" : "+x"(v));
#else
  (void)v;
#endif
}

// n < lanes values, in pieces of a power of two.
template <class T>
KARAFFE_INLINE void copy_few(T* to, const T* from, int64_t n) {
  if constexpr (lanes<T> > 8)
    if (n & 8) std::memcpy(to, from, 8 * sizeof(T)), to += 8, from += 8;
  if constexpr (lanes<T> > 4)
    if (n & 4) std::memcpy(to, from, 4 * sizeof(T)), to += 4, from += 4;
  if (n & 2) std::memcpy(to, from, 2 * sizeof(T)), to += 2, from += 2;
  if (n & 1) *to = *from;
}

// The first n lanes, n < lanes: the others read as zero and are not written.
template <class T>
KARAFFE_INLINE Vec<T> load_first(const T* p, int n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
  else return (Vec<T>)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#else
  T values[lanes<T>] = {};
  copy_few(values, p, n);
  return load(values);
#endif
}
template <class T>
KARAFFE_INLINE void store_first(T* p, int n, Vec<T> v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
  else _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#else
  T values[lanes<T>];
  store(values, v);
  copy_few(p, values, n);
#endif
}

template <class T>
KARAFFE_INLINE void copy_values(const T* from, T* to, int64_t count) {
  for (; count >= lanes<T>; count -= lanes<T>, from += lanes<T>, to += lanes<T>) store(to, load(from));
  copy_few(to, from, count);
}

// Lanes by compile-time index: the even or odd ones of (a, b), and a and b interleaved, low or high half.
template <class T, int... I>
struct Shuffle {
  static constexpr int n = lanes<T>, block = 16 / static_cast<int>(sizeof(T));
  static KARAFFE_INLINE Vec<T> even(Vec<T> a, Vec<T> b) { return __builtin_shufflevector(a, b, (2 * I)...); }
  static KARAFFE_INLINE Vec<T> odd(Vec<T> a, Vec<T> b) { return __builtin_shufflevector(a, b, (2 * I + 1)...); }
  static KARAFFE_INLINE Vec<T> low(Vec<T> a, Vec<T> b) { return __builtin_shufflevector(a, b, (I / 2 + I % 2 * n)...); }
  static KARAFFE_INLINE Vec<T> high(Vec<T> a, Vec<T> b) {
    return __builtin_shufflevector(a, b, (n / 2 + I / 2 + I % 2 * n)...);
  }

  // Within every 128-bit block: the low or high halves of a and b, G values of each in turn.
  static constexpr int interleaved(int i, int g) {
    return i / block * block + i % block / g / 2 * g + i % g + i / g % 2 * n;
  }
  template <int G>
  static KARAFFE_INLINE Vec<T> block_low(Vec<T> a, Vec<T> b) {
    return __builtin_shufflevector(a, b, interleaved(I, G)...);
  }
  template <int G>
  static KARAFFE_INLINE Vec<T> block_high(Vec<T> a, Vec<T> b) {
    return __builtin_shufflevector(a, b, (block / 2 + interleaved(I, G))...);
  }
  // The even or odd 128-bit blocks of (a, b).
  static constexpr int even_block(int i) { return i / block * 2 * block + i % block; }
  static KARAFFE_INLINE Vec<T> even_blocks(Vec<T> a, Vec<T> b) {
    return __builtin_shufflevector(a, b, even_block(I)...);
  }
  static KARAFFE_INLINE Vec<T> odd_blocks(Vec<T> a, Vec<T> b) {
    return __builtin_shufflevector(a, b, (block + even_block(I))...);
  }
};
template <class T, int N>
struct Lanes;
template <class T>
struct Lanes<T, 2> : Shuffle<T, 0, 1> {};
template <class T>
struct Lanes<T, 4> : Shuffle<T, 0, 1, 2, 3> {};
template <class T>
struct Lanes<T, 8> : Shuffle<T, 0, 1, 2, 3, 4, 5, 6, 7> {};
template <class T>
struct Lanes<T, 16> : Shuffle<T, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15> {};
template <class T>
using Permute = Lanes<T, lanes<T>>;

// S vectors of consecutive values as S vectors of phases: lane l of phase b is value l*S + b.
template <int S, class T>
KARAFFE_INLINE void split_phases(const T* p, Vec<T> (&phase)[S]) {
  using P = Permute<T>;
  if constexpr (S == 1) {
    phase[0] = load(p);
  } else if constexpr (S == 2) {
    const Vec<T> a = load(p), b = load(p + lanes<T>);
    phase[0] = P::even(a, b);
    phase[1] = P::odd(a, b);
  } else if constexpr (S == 4) {
    const Vec<T> a = load(p), b = load(p + lanes<T>), c = load(p + 2 * lanes<T>), d = load(p + 3 * lanes<T>);
    const Vec<T> even0 = P::even(a, b), even1 = P::even(c, d), odd0 = P::odd(a, b), odd1 = P::odd(c, d);
    phase[0] = P::even(even0, even1);
    phase[2] = P::odd(even0, even1);
    phase[1] = P::even(odd0, odd1);
    phase[3] = P::odd(odd0, odd1);
  } else {
    T values[S][lanes<T>];
    for (int l = 0; l < lanes<T>; ++l)
      for (int b = 0; b < S; ++b) values[b][l] = p[l * S + b];
    for (int b = 0; b < S; ++b) phase[b] = load(values[b]);
  }
}
// The inverse.
template <int S, class T>
KARAFFE_INLINE void join_phases(T* p, const Vec<T> (&phase)[S]) {
  using P = Permute<T>;
  if constexpr (S == 1) {
    store(p, phase[0]);
  } else if constexpr (S == 2) {
    store(p, P::low(phase[0], phase[1]));
    store(p + lanes<T>, P::high(phase[0], phase[1]));
  } else if constexpr (S == 4) {
    const Vec<T> a = P::low(phase[0], phase[2]), b = P::high(phase[0], phase[2]);
    const Vec<T> c = P::low(phase[1], phase[3]), d = P::high(phase[1], phase[3]);
    store(p, P::low(a, c));
    store(p + lanes<T>, P::high(a, c));
    store(p + 2 * lanes<T>, P::low(b, d));
    store(p + 3 * lanes<T>, P::high(b, d));
  } else {
    for (int b = 0; b < S; ++b)
      for (int l = 0; l < lanes<T>; ++l) p[l * S + b] = phase[b][l];
  }
}

// v[i][j] becomes v[j][i]: first within the 128-bit blocks, then block by block, so that each step is one of the
// processor's cheap shuffles.
template <class T>
KARAFFE_INLINE void transpose(Vec<T> (&v)[lanes<T>]) {
  using P = Permute<T>;
  constexpr int n = lanes<T>, w = P::block;
#pragma GCC unroll 16
  for (int i = 0; i < n; i += w) {
    if constexpr (w == 2) {
      const Vec<T> a = v[i], b = v[i + 1];
      v[i] = P::template block_low<1>(a, b);
      v[i + 1] = P::template block_high<1>(a, b);
    } else {
      const Vec<T> a = P::template block_low<1>(v[i], v[i + 1]), b = P::template block_high<1>(v[i], v[i + 1]);
      const Vec<T> c = P::template block_low<1>(v[i + 2], v[i + 3]), d = P::template block_high<1>(v[i + 2], v[i + 3]);
      v[i] = P::template block_low<2>(a, c);
      v[i + 1] = P::template block_high<2>(a, c);
      v[i + 2] = P::template block_low<2>(b, d);
      v[i + 3] = P::template block_high<2>(b, d);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < w; ++m) {
    if constexpr (n / w == 2) {
      const Vec<T> a = v[m], b = v[w + m];
      v[m] = P::even_blocks(a, b);
      v[w + m] = P::odd_blocks(a, b);
    } else if constexpr (n / w == 4) {
      const Vec<T> even0 = P::even_blocks(v[m], v[w + m]), even1 = P::even_blocks(v[2 * w + m], v[3 * w + m]);
      const Vec<T> odd0 = P::odd_blocks(v[m], v[w + m]), odd1 = P::odd_blocks(v[2 * w + m], v[3 * w + m]);
      v[m] = P::even_blocks(even0, even1);
      v[w + m] = P::even_blocks(odd0, odd1);
      v[2 * w + m] = P::odd_blocks(even0, even1);
      v[3 * w + m] = P::odd_blocks(odd0, odd1);
    }
  }
}

template <class T>
KARAFFE_INLINE T sum_of_lanes(Vec<T> v) {
  T parts[lanes<T>];
  store(parts, v);
  for (int half = lanes<T> / 2; half; half /= 2)
    for (int l = 0; l < half; ++l) parts[l] += parts[l + half];
  return parts[0];
}

// Ask for `count` values at p ahead of their use. The data of a row come from the outer caches in short pieces, which
// the processor's own prefetcher does not foresee: measured, half of the time of a kernel without.
template <class T>
KARAFFE_INLINE void prefetch(const T* p, int64_t count) {
  for (int64_t n = 0; n < count; n += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(p + n, 0, 2);
}
template <class T>
KARAFFE_INLINE void prefetch_to_write(const T* p, int64_t count) {
  for (int64_t n = 0; n < count; n += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(p + n, 1, 3);
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
