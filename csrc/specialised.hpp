// The operators of one instruction set, and how a specialised kernel is found for a problem.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
bool reassemble(const Problem& p, const T* source, const T* kernels, T* result, int64_t begin, int64_t end);
template <class T>
bool correlate(const Problem& p, const T* source, const T* query, T* result, int64_t begin, int64_t end);
template <class T>
bool scatter(const Problem& p, const T* kernels, const T* query, T* result, int64_t begin, int64_t end);
template <class T>
bool reassemble_logits(const Problem& p, const T* source, const T* logits, T* result, int64_t begin, int64_t end);

template <class T, template <class, int, int> class Kernel, int S>
bool with_factor(const Problem& p, const T* x, const T* y, T* result, int64_t begin, int64_t end) {
  switch (p.axis[2].taps) {
    case 3: return Kernel<T, 3, S>{p}.run(x, y, result, begin, end);
    case 5: return Kernel<T, 5, S>{p}.run(x, y, result, begin, end);
    default: return Kernel<T, 7, S>{p}.run(x, y, result, begin, end);
  }
}

// Runs Kernel<T, K, S> for the problem's kernel size K and factor S.
template <class T, template <class, int, int> class Kernel>
bool specialised(const Problem& p, const T* x, const T* y, T* result, int64_t begin, int64_t end) {
  switch (p.factor) {
    case 1: return with_factor<T, Kernel, 1>(p, x, y, result, begin, end);
    case 2: return with_factor<T, Kernel, 2>(p, x, y, result, begin, end);
    case 3: return with_factor<T, Kernel, 3>(p, x, y, result, begin, end);
    default: return with_factor<T, Kernel, 4>(p, x, y, result, begin, end);
  }
}

}  // namespace karaffe::KARAFFE_SET
