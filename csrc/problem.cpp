#include "problem.hpp"

#include <algorithm>

#include "alignment.hpp"

namespace karaffe {

int64_t centre(int64_t y, int64_t source, int64_t target, Alignment alignment) {
  switch (alignment) {
    case Alignment::corner:
      return y * source / target;
    case Alignment::center:
      return (2 * y + 1) * source / (2 * target);
    case Alignment::align_corners:
      return target == 1 ? 0 : (2 * y * (source - 1) + target - 1) / (2 * (target - 1));
  }
  return 0;
}

int64_t fold(int64_t p, int64_t size, Border border) {
  if (p >= 0 && p < size) return p;
  if (border == Border::zeros) return outside;
  if (border == Border::replicate) return p < 0 ? 0 : size - 1;
  if (size == 1) return 0;
  const int64_t period = 2 * (size - 1), folded = ((p % period) + period) % period;
  return std::min(folded, period - folded);
}

int specialised_factor(const Problem& problem, bool float64) {
  const Axis &depth = problem.axis[0], &height = problem.axis[1], &width = problem.axis[2];
  if (depth.source != 1 || depth.target != 1 || depth.taps != 1) return 0;
  if (height.taps != width.taps || height.dilation != 1 || width.dilation != 1) return 0;
  if (width.taps != 3 && width.taps != 5 && width.taps != 7) return 0;
  const int64_t factor = width.target / width.source;
  if (factor < 1 || factor > 4 || (float64 && factor % 2)) return 0;
  if (width.target != factor * width.source || height.target != factor * height.source) return 0;
  if (problem.alignment == Alignment::align_corners && factor != 1) return 0;
  return static_cast<int>(factor);
}

bool has_strides(const Problem& problem, bool float64) {
  const Axis &depth = problem.axis[0], &height = problem.axis[1], &width = problem.axis[2];
  if (float64 || problem.channels_last || problem.alignment == Alignment::align_corners) return false;
  if (depth.source != 1 || depth.target != 1 || depth.taps != 1) return false;
  // Mirrored, an even window reads rows that it does not span, which the ring of rows no longer has.
  if (problem.border == Border::reflect && height.taps % 2 == 0) return false;
  return height.source % height.target == 0 && width.source % width.target == 0;
}

Tables::Tables(Problem& problem) {
  for (int a = 0; a < 3; ++a) fill(problem.axis[a], tables_[a], problem.border, problem.alignment);
}

void Tables::fill(Axis& axis, OfAxis& table, Border border, Alignment alignment) {
  table.reads.resize(axis.target * axis.taps);
  table.first_reader.assign(axis.source + 1, 0);
  for (int64_t y = 0; y < axis.target; ++y) {
    const int64_t at = centre(y, axis.source, axis.target, alignment);
    for (int64_t i = 0; i < axis.taps; ++i) {
      const int64_t q = fold(at + (i - (axis.taps - 1) / 2) * axis.dilation, axis.source, border);
      table.reads[y * axis.taps + i] = q;
      if (q != outside) ++table.first_reader[q + 1];
    }
  }
  for (int64_t q = 0; q < axis.source; ++q) table.first_reader[q + 1] += table.first_reader[q];
  table.reader_target.resize(table.first_reader[axis.source]);
  table.reader_tap.resize(table.first_reader[axis.source]);
  std::vector<int64_t> next(table.first_reader.begin(), table.first_reader.end() - 1);
  for (int64_t y = 0; y < axis.target; ++y)
    for (int64_t i = 0; i < axis.taps; ++i) {
      const int64_t q = table.reads[y * axis.taps + i];
      if (q == outside) continue;
      table.reader_target[next[q]] = y;
      table.reader_tap[next[q]++] = i;
    }
  axis.reads = table.reads.data();
  axis.first_reader = table.first_reader.data();
  axis.reader_target = table.reader_target.data();
  axis.reader_tap = table.reader_tap.data();
}

}  // namespace karaffe
