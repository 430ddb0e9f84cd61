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
bool reassemble_logits(const Problem& p, const float* source, const float* logits, float* result, int64_t begin,
                       int64_t end);
bool scatter_logits(const Problem& p, const float* logits, const float* query, float* result, int64_t begin,
                    int64_t end);
bool correlate_logits(const Problem& p, const float* source, const float* query, const float* logits, float* result,
                      int64_t begin, int64_t end);

template <class T, template <class, int, int> class Kernel, int S, class... Arguments>
bool with_factor(const Problem& p, Arguments... arguments) {
  switch (p.axis[2].taps) {
    case 3: return Kernel<T, 3, S>{p}.run(arguments...);
    case 5: return Kernel<T, 5, S>{p}.run(arguments...);
    default: return Kernel<T, 7, S>{p}.run(arguments...);
  }
}

// Runs Kernel<T, K, S> for the problem's kernel size K and factor S, which is even for float64 (`specialised_factor`).
template <class T, template <class, int, int> class Kernel, class... Arguments>
bool specialised(const Problem& p, Arguments... arguments) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (p.factor == 1) return with_factor<T, Kernel, 1>(p, arguments...);
    if (p.factor == 3) return with_factor<T, Kernel, 3>(p, arguments...);
  }
  if (p.factor == 2) return with_factor<T, Kernel, 2>(p, arguments...);
  return with_factor<T, Kernel, 4>(p, arguments...);
}

}  // namespace karaffe::KARAFFE_SET
