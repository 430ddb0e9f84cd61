// Which instruction set serves, decided once when the library is loaded.
#include <cstring>

#include "attention.hpp"
#include "kernels.hpp"

namespace karaffe {

// Of each instruction set: the tables of its kernels.
#define KARAFFE_TABLES(set)            \
  namespace set {                      \
  const KernelSet& kernel_set();       \
  const AttentionSet& attention_set(); \
  }
KARAFFE_TABLES(avx512)
KARAFFE_TABLES(avx2)
KARAFFE_TABLES(neon)
KARAFFE_TABLES(portable)

namespace {

struct Candidate {
  const KernelSet& (*kernels)();
  const AttentionSet& (*attention)();
  bool supported;
};

// The best that the processor has, or the one of a name; without `kernels` where there is none.
Candidate find(const char* name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  [[maybe_unused]] const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  [[maybe_unused]] const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                                           __builtin_cpu_supports("avx512dq");
#endif
  const Candidate best_first[] = {
#if defined(KARAFFE_HAS_AVX512)
      {avx512::kernel_set, avx512::attention_set, has_avx512},
#endif
#if defined(KARAFFE_HAS_AVX2)
      {avx2::kernel_set, avx2::attention_set, has_avx2},
#endif
#if defined(KARAFFE_HAS_NEON)
      {neon::kernel_set, neon::attention_set, true},
#endif
#if defined(KARAFFE_HAS_PORTABLE)
      {portable::kernel_set, portable::attention_set, true},
#endif
  };
  for (const Candidate& candidate : best_first)
    if (candidate.supported && (!name || !std::strcmp(name, candidate.kernels().name))) return candidate;
  return {};
}

Candidate& current() {
  static Candidate candidate = find(nullptr);
  return candidate;
}

}  // namespace

const KernelSet& kernels() { return current().kernels(); }

template <>
const AttentionKernels<float>& attention_kernels<float>() { return current().attention().single; }
template <>
const AttentionKernels<double>& attention_kernels<double>() { return current().attention().dbl; }

bool select(const char* name) {
  const Candidate candidate = find(name);
  if (candidate.kernels) current() = candidate;
  return candidate.kernels != nullptr;
}

}  // namespace karaffe
