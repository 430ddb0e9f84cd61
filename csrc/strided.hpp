// The operators on planes with strides, see strided_rows.hpp: a few channels at a time, all target rows of a part.
#pragma once
#include "kernels.hpp"
#include "strided_rows.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
struct Strided {
  static constexpr int together = 32;  // channels of a ring, which serve with one copy of a row's kernels
  static constexpr int block = 8;      // of these in registers
  using Ring = StridedRing<T>;
  using Tap = typename Ring::Tap;

  const Problem& p;
  int64_t height = p.axis[1].source, width = p.axis[2].target, plane = p.target_pixels();
  int64_t pitch = round_up(width, lanes<T>);

  // What one part of the work holds: rows of kernels and of target maps are copied to lie side by side, which planes a
  // power of two apart do not in the cache, and filled up to whole vectors with zeros.
  struct Memory {
    Ring ring;
    Scratch<T> kernels, maps;
    explicit Memory(const Strided& s)
        : ring(s.p, together), kernels(s.p.taps() * s.pitch), maps(together * s.pitch) {
      if (!*this) return;
      std::memset(kernels.get(), 0, s.p.taps() * s.pitch * sizeof(T));
      std::memset(maps.get(), 0, together * s.pitch * sizeof(T));
    }
    explicit operator bool() const { return ring && kernels && maps; }
  };
  // Row y of the kernels of some taps; kernels and maps begin with the row's first value.
  const T* kernel_row(const Memory& memory, const T* kernels, const Tap* taps, int64_t count) const {
    for (int64_t t = 0; t < count; ++t)
      copy_values(kernels + taps[t].number * plane, memory.kernels.get() + t * pitch, width);
    return memory.kernels.get();
  }
  const T* map_row(const Memory& memory, const T* maps, int64_t channels) const {
    for (int64_t c = 0; c < channels; ++c) copy_values(maps + c * plane, memory.maps.get() + c * pitch, width);
    return memory.maps.get();
  }

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

  // visit(planes of an image and group, first channel, number of channels) for every ring full of them.
  template <class Visit>
  bool for_each_ring(int64_t begin, int64_t end, Visit visit) const {
    return for_each_strided(p, begin, end, [&](const StridedRows& at) {
      for (int64_t c = 0; c < p.channels; c += together) visit(at, c, lesser(together, p.channels - c));
    });
  }
  // Source rows read as target row after target row needs them: visit(y, taps, their number, foresee), where
  // foresee(c, count) has these channels' rows of the next target row on their way.
  template <class Visit>
  void walk(Ring& ring, const StridedRows& at, const T* planes, int64_t channels, Visit visit) const {
    int64_t ready = 0;
    for (int64_t y = at.first; y < at.last; ++y) {
      const int64_t from = greater(ready, greater(0, ring.reach(y))), to = lesser(height, ring.reach_end(y));
      ring.read(planes, from, to, channels);
      ready = greater(ready, to);
      const int64_t next = y + 1 < at.last ? lesser(height, ring.reach_end(y + 1)) : ready;
      int64_t count;
      const Tap* taps = ring.taps(y, 0, height, count);
      visit(y, taps, count, [&](int64_t c, int64_t several) { ring.foresee(planes, ready, next, c, several); });
    }
  }

  bool reassemble(const T* source, const T* kernels, T* result, int64_t begin, int64_t end) const {
    Memory memory(*this);
    if (!memory) return false;
    return for_each_ring(begin, end, [&](const StridedRows& at, int64_t c, int64_t channels) {
      walk(memory.ring, at, source + at.source + c * p.source_pixels(), channels,
           [&](int64_t y, const Tap* taps, int64_t count, auto foresee) {
             const T* weights = kernel_row(memory, kernels + at.kernels + y * width, taps, count);
             T* to = result + at.target + c * plane + y * width;
             blocks<block>(0, channels, [&]<int CB>(int64_t n) {
               foresee(n, CB);
               mix<CB>(memory.ring.channel_pitch(), n, taps, count, weights, to + n * plane);
             });
           });
    });
  }

  // One target row of CB channels from channel n of the ring on.
  template <int CB>
  void mix(int64_t channel_pitch, int64_t n, const Tap* taps, int64_t count, const T* weights, T* to) const {
    const int64_t width = this->width, pitch = this->pitch, plane = this->plane;
    for (int64_t x = 0; x < width; x += lanes<T>) {
      Vec<T> acc[CB] = {};
      for (int64_t t = 0; t < count; ++t) {
        const Vec<T> a = load(weights + t * pitch + x);
        const T* from = taps[t].at + n * channel_pitch + x;
#pragma GCC unroll 8
        for (int c = 0; c < CB; ++c, from += channel_pitch) acc[c] += a * load(from);
      }
#pragma GCC unroll 8
      for (int c = 0; c < CB; ++c) store_some(to + c * plane + x, width - x, acc[c]);
    }
  }

  bool correlate(const T* source, const T* query, T* result, int64_t begin, int64_t end) const {
    Memory memory(*this);
    if (!memory) return false;
    return for_each_ring(begin, end, [&](const StridedRows& at, int64_t c, int64_t channels) {
      T* sums = result + at.kernels;
      if (!c)
        for (int64_t t = 0; t < p.taps(); ++t)
          std::memset(sums + t * plane + at.first * width, 0, (at.last - at.first) * width * sizeof(T));
      walk(memory.ring, at, source + at.source + c * p.source_pixels(), channels,
           [&](int64_t y, const Tap* taps, int64_t count, auto foresee) {
             const T* asked = map_row(memory, query + at.target + c * plane + y * width, channels);
             int64_t seen = 0;
             blocks<block>(0, count, [&]<int TN>(int64_t t) {
               if (seen < channels) foresee(seen, lesser(block, channels - seen));
               seen += block;
               add_products<TN>(memory.ring, taps + t, asked, channels, sums + y * width);
             });
           });
    });
  }

  // A row of the sums of TN taps, += over the ring's channels.
  template <int TN>
  void add_products(const Ring& ring, const Tap* taps, const T* query, int64_t channels, T* sums) const {
    const int64_t width = this->width, pitch = this->pitch, plane = this->plane;
    const int64_t channel_pitch = ring.channel_pitch();
    for (int64_t x = 0; x < width; x += lanes<T>) {
      Vec<T> acc[TN] = {};
      int64_t at = x;
      for (int64_t c = 0; c < channels; ++c, at += channel_pitch) {
        const Vec<T> q = load(query + c * pitch + x);
#pragma GCC unroll 8
        for (int n = 0; n < TN; ++n) acc[n] += q * load(taps[n].at + at);
      }
#pragma GCC unroll 8
      for (int n = 0; n < TN; ++n) {
        T* to = sums + taps[n].number * plane + x;
        if (width - x >= lanes<T>) store(to, load(to) + acc[n]);
        else store_first(to, static_cast<int>(width - x), load_first(to, static_cast<int>(width - x)) + acc[n]);
      }
    }
  }

  bool scatter(const T* kernels, const T* query, T* result, int64_t begin, int64_t end) const {
    Memory memory(*this);
    if (!memory) return false;
    return for_each_ring(begin, end, [&](const StridedRows& at, int64_t c, int64_t channels) {
      send(memory, at, kernels + at.kernels, query + at.target + c * plane,
           result + at.source + c * p.source_pixels(), channels);
    });
  }

  // The source rows under target rows at.first … at.last-1 of some planes, from all targets that reach them.
  void send(Memory& memory, const StridedRows& at, const T* kernels, const T* query, T* result,
            int64_t channels) const {
    Ring& ring = memory.ring;
    const int64_t first = at.first * ring.stride(), last = at.last * ring.stride();
    int64_t clear = first, done = first, y = 0;
    while (y < p.axis[1].target && ring.reach_end(y) <= first) ++y;
    for (; y < p.axis[1].target && ring.reach(y) < last; ++y) {
      for (; clear < lesser(last, ring.reach_end(y)); ++clear) ring.clear(clear, channels);
      int64_t count;
      const Tap* taps = ring.taps(y, first, last, count);
      const T* weights = kernel_row(memory, kernels + y * width, taps, count);
      const T* values = map_row(memory, query + y * width, channels);
      blocks<block>(0, channels, [&]<int CB>(int64_t n) {
        ring.foresee(result, done, lesser(clear, ring.reach(y + 1)), n, CB);
        send_row<CB>(ring.channel_pitch(), n, taps, count, weights, values + n * pitch);
      });
      for (; done < lesser(clear, ring.reach(y + 1)); ++done) ring.write(done, result, channels);
    }
    for (; done < last; ++done) {
      if (done >= clear) ring.clear(done, channels);
      ring.write(done, result, channels);
    }
  }

  // One target row of CB channels into the rows in reach.
  template <int CB>
  void send_row(int64_t channel_pitch, int64_t n, const Tap* taps, int64_t count, const T* weights,
                const T* values) const {
    const int64_t width = this->width, pitch = this->pitch;
    for (int64_t t = 0; t < count; ++t)
      for (int64_t x = 0; x < width; x += lanes<T>) {
        const Vec<T> a = load(weights + t * pitch + x);
        T* to = taps[t].at + n * channel_pitch + x;
#pragma GCC unroll 8
        for (int c = 0; c < CB; ++c, to += channel_pitch) store(to, load(to) + a * load(values + c * pitch + x));
      }
  }
};

}  // namespace karaffe::KARAFFE_SET
