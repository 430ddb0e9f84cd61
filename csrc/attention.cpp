#include "attention.hpp"

#include <algorithm>

#include "alignment.hpp"

namespace karaffe {
namespace {

Border border_of(Outside mode) {
  return mode == Outside::replicate ? Border::replicate : mode == Outside::reflect ? Border::reflect : Border::zeros;
}

// The source index of tap i of the window about `centre`. A shifted window slides along its own residue class modulo
// the dilation until it is inside.
int64_t read(int64_t centre, int64_t tap, const WindowAxis& axis, Outside mode) {
  const int64_t before = (axis.taps - 1) / 2;
  if (mode == Outside::shift) {
    const int64_t residue = centre % axis.dilation, length = (axis.source - 1 - residue) / axis.dilation + 1;
    const int64_t first = std::max<int64_t>(0, std::min(centre / axis.dilation - before, length - axis.taps));
    return (first + tap) * axis.dilation + residue;
  }
  return fold(centre + (tap - before) * axis.dilation, axis.source, border_of(mode));
}

Problem on_planes(const Attention& a, Outside mode, Alignment alignment) {
  Problem p;
  p.batch = a.batch;
  p.groups = a.heads;
  p.channels = a.value_channels;
  p.border = border_of(mode);
  p.alignment = alignment;
  for (int d = 0; d < 3; ++d) {
    p.axis[d].source = a.axis[d].source;
    p.axis[d].target = a.axis[d].target;
    p.axis[d].taps = a.axis[d].taps;
    p.axis[d].dilation = a.axis[d].dilation;
  }
  if (mode != Outside::shift && a.tap_count == a.window()) p.factor = specialised_factor(p, false);
  return p;
}

// The widest range of source indices that are in use together at one centre.
int64_t widest(const std::vector<int64_t>& first_reader, const std::vector<int64_t>& last_reader) {
  const int64_t size = static_cast<int64_t>(first_reader.size());
  std::vector<int64_t> lowest(size, size), highest(size, -1);
  for (int64_t q = 0; q < size; ++q)
    for (int64_t c = first_reader[q]; c <= last_reader[q]; ++c) {
      lowest[c] = std::min(lowest[c], q);
      highest[c] = std::max(highest[c], q);
    }
  int64_t most = 1;
  for (int64_t c = 0; c < size; ++c) most = std::max(most, highest[c] - lowest[c] + 1);
  return most;
}

}  // namespace

Windows::Windows(Attention& attention, Outside mode, Alignment alignment) {
  for (int a = 0; a < 3; ++a) fill(attention.axis[a], tables_[a], mode, alignment);
  attention.masked = mode == Outside::mask;
  attention.planes = on_planes(attention, mode, alignment);
}

void Windows::fill(WindowAxis& axis, OfAxis& table, Outside mode, Alignment alignment) {
  table.first_target.assign(axis.source + 1, 0);
  for (int64_t y = 0; y < axis.target; ++y)
    ++table.first_target[centre(y, axis.source, axis.target, alignment) + 1];
  for (int64_t c = 0; c < axis.source; ++c) table.first_target[c + 1] += table.first_target[c];
  table.reads.resize(axis.source * axis.taps);
  table.first_reader.assign(axis.source, axis.source);
  table.last_reader.assign(axis.source, -1);
  for (int64_t c = 0; c < axis.source; ++c)
    for (int64_t i = 0; i < axis.taps; ++i) {
      const int64_t q = read(c, i, axis, mode);
      table.reads[c * axis.taps + i] = q;
      if (q == outside) continue;
      table.first_reader[q] = std::min(table.first_reader[q], c);
      table.last_reader[q] = std::max(table.last_reader[q], c);
    }
  axis.span = widest(table.first_reader, table.last_reader);
  axis.reads = table.reads.data();
  axis.first_target = table.first_target.data();
  axis.first_reader = table.first_reader.data();
  axis.last_reader = table.last_reader.data();
}

}  // namespace karaffe
