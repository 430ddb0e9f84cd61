// What the binding files share: torch's tensors by the stable ABI, their layouts, and its threads.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "problem.hpp"

namespace karaffe {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

inline bool is_channels_last(const Tensor& t) {
  if (t.dim() < 4 || t.is_contiguous()) return false;
  int64_t expected = t.size(1);
  if (t.size(1) != 1 && t.stride(1) != 1) return false;
  for (int64_t d = t.dim() - 1; d >= 2; --d) {
    if (t.size(d) != 1 && t.stride(d) != expected) return false;
    expected *= t.size(d);
  }
  return t.size(0) == 1 || t.stride(0) == expected;
}

inline MemoryFormat format_of(int64_t dim, bool channels_last) {
  if (!channels_last) return MemoryFormat::Contiguous;
  return dim == 5 ? MemoryFormat::ChannelsLast3d : MemoryFormat::ChannelsLast;
}

// Have the system back a large result with large pages. The C library returns so much memory to the system each time it
// is freed, and to get it again 4 KiB at a time takes longer than to compute what goes into it. Only advice: where the
// system does not follow, nothing changes; pages wholly inside alone, so that no memory is added.
inline void advise_large_pages(const Tensor& t) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = 2 << 20, worth_it = 4 << 20;
  const uintptr_t bytes = static_cast<uintptr_t>(t.numel()) * t.element_size();
  if (bytes < worth_it) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(t.data_ptr()), first = (begin + page - 1) / page * page;
  madvise(reinterpret_cast<void*>(first), (begin + bytes) / page * page - first, MADV_HUGEPAGE);
#else
  (void)t;
#endif
}

inline Tensor allocate(const Tensor& like, const Sizes& sizes, bool channels_last) {
  const Tensor result = torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                                             format_of(static_cast<int64_t>(sizes.size()), channels_last));
  advise_large_pages(result);
  return result;
}

inline int64_t product(const Sizes& sizes, size_t from) {
  int64_t n = 1;
  for (size_t d = from; d < sizes.size(); ++d) n *= sizes[d];
  return n;
}

inline Sizes sizes_of(const Tensor& t) { return Sizes(t.sizes().begin(), t.sizes().end()); }

inline Alignment alignment_of(const std::string& name) {
  if (name == "corner") return Alignment::corner;
  if (name == "center") return Alignment::center;
  STD_TORCH_CHECK(name == "align_corners", "alignment is '", name, "': corner, center or align_corners");
  return Alignment::align_corners;
}

// Calls body(begin, end) for parts of 0 … rows-1, on as many threads as the work is worth, `least` rows or more each.
template <class Body>
void share_rows(int64_t rows, int64_t multiply_adds, int64_t least, const Body& body) {
  constexpr int64_t worth_a_thread = 1 << 15;
  const int64_t grain = std::max(least, worth_a_thread / (multiply_adds / rows + 1) + 1);
  if (grain >= rows) body(0, rows);
  else torch::stable::parallel_for(0, rows, grain, body);
}

}  // namespace karaffe
