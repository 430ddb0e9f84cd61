// The operators on planes with strides, see strided_rows.hpp.
#pragma once
#include "kernels.hpp"
#include "strided_rows.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
struct Strided {
  static constexpr int block = 8;      // channels that pass through the first cache together
  static constexpr int most_sums = 9;  // taps of which correlate holds the sums in registers
  static constexpr int64_t kernels_of_band = 40 * 1024;  // values, for the second cache
  using Term = Terms::Term;

  const Problem& p;
  int64_t height = p.axis[1].target, width = p.axis[2].target, plane = p.target_pixels();
  int64_t stride = p.axis[1].source / height, taps = p.taps();

  int64_t band() const { return lesser(height, greater(8, kernels_of_band / (taps * round_up(width, lanes<T>)))); }

  static KARAFFE_INLINE void store_some(T* to, int64_t count, Vec<T> v) {
    if (count >= lanes<T>) store(to, v);
    else store_first(to, static_cast<int>(count), v);
  }
  // Blocks of CB channels, then of half as many, down to one: visit<CB>(first channel).
  template <int CB, class Visit>
  static void blocks(int64_t c, int64_t channels, Visit visit) {
    for (; c + CB <= channels; c += CB) visit.template operator()<CB>(c);
    if constexpr (CB > 1)
      if (c < channels) blocks<CB / 2>(c, channels, visit);
  }
  // visit(first channel, number of channels) for every block.
  template <class Visit>
  void for_each_block(Visit visit) const {
    for (int64_t c = 0; c < p.channels; c += block) visit(c, lesser(block, p.channels - c));
  }

  // Target columns first … last-1 of CB channels: sums of products of kernels, which they share, and maps. Calls
  // foresee(x) before each vector of them.
  template <int CB, class Foresee>
  static void mix(const Term* terms, int64_t count, const T* kernels, const T* maps, int64_t pitch, T* to,
                  int64_t to_pitch, int64_t first, int64_t last, Foresee foresee) {
    for (int64_t x = first; x < last; x += lanes<T>) {
      foresee(x);
      Vec<T> acc[CB] = {};
      for (int64_t t = 0; t < count; ++t) {
        const Vec<T> a = load(kernels + terms[t].kernel + x);
        const T* from = maps + terms[t].map + x;
#pragma GCC unroll 8
        for (int c = 0; c < CB; ++c) acc[c] += a * load(from + c * pitch);
      }
#pragma GCC unroll 8
      for (int c = 0; c < CB; ++c) store_some(to + c * to_pitch + x, last - x, acc[c]);
    }
  }

  // Of every target row of a band the taps that lie inside, by their row of kernels and in the ring.
  void find_taps(const StridedRows& at, const StridedRing<T>& ring, const PackedRows<T>& kernels, Terms& terms) const {
    const Axis &rows = p.axis[1], &columns = p.axis[2];
    for (int64_t y = at.first; y < at.last; ++y) {
      terms.begin(y - at.first);
      for (int64_t i = 0; i < rows.taps; ++i) {
        const int64_t q = fold(stride * y + displacement(p, rows, i), rows.source, p.border);
        if (q == outside) continue;
        for (int64_t j = 0; j < columns.taps; ++j)
          terms.add(kernels.offset(y - at.first, i * columns.taps + j),
                    ring.offset(q) + ring.row().place_of_phase(ring.row().phase(j)) + ring.row().column(j));
      }
    }
    terms.begin(at.count());
  }

  bool reassemble(const T* source, const T* kernels, T* result, int64_t begin, int64_t end) const {
    const int64_t most = lesser(band(), end - begin);
    StridedRing<T> ring(p, block);
    PackedRows<T> packed(most, taps, width, 0);
    Terms terms(most, most * taps);
    if (!ring || !packed || !terms) return false;
    for_each_band(p, begin, end, most, [&](const StridedRows& at) {
      packed.read(kernels + at.kernels + at.first * width, plane, at.count(), taps);
      find_taps(at, ring, packed, terms);
      for_each_block([&](int64_t c, int64_t channels) {
        const T* planes = source + at.source + c * p.source_pixels();
        for (int64_t y = at.first; y < at.last; ++y) {
          ring.read(planes, y, at.first, channels);
          T* to = result + at.target + c * plane + y * width;
          blocks<block>(0, channels, [&]<int CB>(int64_t n) {
            mix<CB>(terms.of(y - at.first), terms.count(y - at.first), packed.data(),
                    ring.data() + n * ring.channel_pitch(), ring.channel_pitch(), to + n * plane, plane, 0, width,
                    [&](int64_t x) {
                      if (y + 1 < at.last) ring.foresee(planes, y + 1, at.first, n, CB, x, lanes<T>);
                    });
          });
        }
      });
    });
    return true;
  }

  bool correlate(const T* source, const T* query, T* result, int64_t begin, int64_t end) const {
    const int64_t most = lesser(band(), end - begin);
    StridedRing<T> ring(p, block);
    PackedRows<T> sums(most, taps, width, 0), asked(1, block, width, 0);
    Terms terms(most, most * taps);
    if (!ring || !sums || !asked || !terms) return false;
    for_each_band(p, begin, end, most, [&](const StridedRows& at) {
      sums.clear();
      find_taps(at, ring, sums, terms);
      for_each_block([&](int64_t c, int64_t channels) {
        const T* planes = source + at.source + c * p.source_pixels();
        for (int64_t y = at.first; y < at.last; ++y) {
          ring.read(planes, y, at.first, channels);
          asked.read(query + at.target + c * plane + y * width, plane, 1, channels);
          add_products(terms.of(y - at.first), terms.count(y - at.first), ring, asked, channels,
                       sums.data(), [&](int64_t n, int64_t some, int64_t x) {
                         if (y + 1 < at.last) ring.foresee(planes, y + 1, at.first, n, some, x, lanes<T>);
                       });
        }
      });
      sums.write(result + at.kernels + at.first * width, plane, at.count());
    });
    return true;
  }

  // A row of the sums of all its taps, += over a block's channels: parts of the taps, as large as each other. Calls
  // foresee(first channel, their number, x) for every channel and vector once.
  template <class Foresee>
  void add_products(const Term* terms, int64_t count, const StridedRing<T>& ring, const PackedRows<T>& asked,
                    int64_t channels, T* sums, Foresee foresee) const {
    int64_t seen = 0;
    for (int64_t parts = (count + most_sums - 1) / most_sums; parts; --parts) {
      const int64_t several = (count + parts - 1) / parts, sees = (channels - seen + parts - 1) / parts;
      add_some<most_sums>(several, terms, ring, asked, channels, sums,
                          [&](int64_t x) { foresee(seen, sees, x); });
      terms += several, count -= several, seen += sees;
    }
  }
  template <int TN, class Foresee>
  void add_some(int64_t several, const Term* terms, const StridedRing<T>& ring, const PackedRows<T>& asked,
                int64_t channels, T* sums, Foresee foresee) const {
    if constexpr (TN > 1)
      if (several < TN) return add_some<TN - 1>(several, terms, ring, asked, channels, sums, foresee);
    const int64_t channel_pitch = ring.channel_pitch(), pitch = asked.pitch();
    for (int64_t x = 0; x < width; x += lanes<T>) {
      foresee(x);
      const T *from[TN], *q = asked.data() + asked.offset(0, 0) + x;
      for (int n = 0; n < TN; ++n) from[n] = ring.data() + terms[n].map + x;
      Vec<T> acc[TN] = {};
      for (int64_t c = 0, at = 0; c < channels; ++c, at += channel_pitch, q += pitch) {
        const Vec<T> asks = load(q);
#pragma GCC unroll 16
        for (int n = 0; n < TN; ++n) acc[n] += asks * load(from[n] + at);
      }
#pragma GCC unroll 16
      for (int n = 0; n < TN; ++n) {
        T* to = sums + terms[n].kernel + x;
        store(to, load(to) + acc[n]);
      }
    }
  }

  // The first target row that reads source row q, and one past the last: a window spans what it reads, also beyond a
  // border.
  int64_t first_reader(int64_t q) const {
    const int64_t reach = q - displacement(p, p.axis[1], p.axis[1].taps - 1) + stride - 1;
    return greater(0, (reach - rest(reach, stride)) / stride);
  }
  int64_t past_reader(int64_t q) const {
    const int64_t reach = q - displacement(p, p.axis[1], 0);
    return lesser(height, (reach - rest(reach, stride)) / stride + 1);
  }

  // Of every source row under a band, phase by phase, the targets that read it; kernels and maps begin with target row
  // `first`.
  void find_readers(const StridedRows& at, int64_t first, const SplitRow<T>& row, const PackedRows<T>& kernels,
                    const PackedRows<T>& maps, Terms& terms) const {
    const Axis &rows = p.axis[1], &columns = p.axis[2];
    int64_t list = 0;
    for (int64_t q = at.first * stride; q < at.last * stride; ++q)
      for (int64_t b = 0; b < row.stride(); ++b) {
        terms.begin(list++);
        for (int64_t y = first_reader(q); y < past_reader(q); ++y)
          for (int64_t i = 0; i < rows.taps; ++i) {
            if (fold(stride * y + displacement(p, rows, i), rows.source, p.border) != q) continue;
            for (int64_t j = 0; j < columns.taps; ++j)
              if (row.phase(j) == b)
                terms.add(kernels.offset(y - first, i * columns.taps + j) - row.column(j),
                          maps.offset(y - first, 0) - row.column(j));
          }
      }
    terms.begin(list);
  }

  bool scatter(const T* kernels, const T* query, T* result, int64_t begin, int64_t end) const {
    const int64_t most = lesser(band(), end - begin);
    const SplitRow<T> row(p);
    if (!row) return false;
    const int64_t readers = lesser(height, most + ((p.axis[1].taps - 1) * p.axis[1].dilation + stride) / stride + 1);
    PackedRows<T> packed(readers, taps, width, row.left() + row.right());
    PackedRows<T> maps(readers, block, width, row.left() + row.right());
    Scratch<T> rows(block * row.size() + lanes<T>);
    Terms terms(most * stride * row.stride(), readers * taps);
    if (!packed || !maps || !rows || !terms) return false;
    for_each_band(p, begin, end, most, [&](const StridedRows& at) {
      const int64_t first = first_reader(at.first * stride), last = past_reader(at.last * stride - 1);
      packed.read(kernels + at.kernels + first * width, plane, last - first, taps);
      find_readers(at, first, row, packed, maps, terms);
      for_each_block([&](int64_t c, int64_t channels) {
        maps.read(query + at.target + c * plane + first * width, plane, last - first, channels);
        for (int64_t q = at.first * stride; q < at.last * stride; ++q)
          gather_row(terms, (q - at.first * stride) * row.stride(), row, packed, maps, channels, rows.get(),
                     result + at.source + c * p.source_pixels() + q * p.axis[2].source);
      });
    });
    return true;
  }

  // One source row of some channels, whose phases' terms are the lists from `list` on.
  void gather_row(const Terms& terms, int64_t list, const SplitRow<T>& row, const PackedRows<T>& kernels,
                  const PackedRows<T>& maps, int64_t channels, T* rows, T* result) const {
    const bool zeros = p.border == Border::zeros;
    const int64_t first = zeros ? 0 : -row.left(), last = zeros ? width : width + row.right();
    blocks<block>(0, channels, [&]<int CB>(int64_t n) {
      for (int64_t b = 0; b < row.stride(); ++b)
        mix<CB>(terms.of(list + b), terms.count(list + b), kernels.data(),
                maps.data() + n * maps.pitch(), maps.pitch(), rows + n * row.size() + row.place_of_phase(b),
                row.size(), first, last, [](int64_t) {});
    });
    row.join(rows, row.size(), result, p.source_pixels(), channels);
  }
};

}  // namespace karaffe::KARAFFE_SET
