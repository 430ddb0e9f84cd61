// Which instruction set serves, decided once when the library is loaded.
#include <cstring>

#include "kernels.hpp"

namespace karaffe {

#if defined(KARAFFE_X86)
namespace avx512 { const KernelSet& kernel_set(); }
namespace avx2 { const KernelSet& kernel_set(); }
#endif
namespace portable { const KernelSet& kernel_set(); }

namespace {

struct Candidate {
  const KernelSet& (*set)();
  bool supported;
};

const KernelSet* find(const char* name) {
#if defined(KARAFFE_X86)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  const Candidate best_first[] = {
      {avx512::kernel_set, has_avx512}, {avx2::kernel_set, has_avx2}, {portable::kernel_set, true}};
#else
  const Candidate best_first[] = {{portable::kernel_set, true}};
#endif
  for (const Candidate& candidate : best_first)
    if (candidate.supported && (!name || !std::strcmp(name, candidate.set().name))) return &candidate.set();
  return nullptr;
}

const KernelSet*& current() {
  static const KernelSet* set = find(nullptr);
  return set;
}

}  // namespace

const KernelSet& kernels() { return *current(); }

bool select(const char* name) {
  const KernelSet* set = find(name);
  if (set) current() = set;
  return set != nullptr;
}

}  // namespace karaffe
