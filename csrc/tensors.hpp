// What the binding files share: torch's tensors by the stable ABI, their layouts, and its threads.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
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

inline Tensor allocate(const Tensor& like, const Sizes& sizes, bool channels_last) {
  return torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                              format_of(static_cast<int64_t>(sizes.size()), channels_last));
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
