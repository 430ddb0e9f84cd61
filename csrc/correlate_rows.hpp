// Correlation, s x s targets a source pixel, in both layouts: pixels ride in the lanes, so that no lane sums are
// needed. A tile of a few vectors of pixels at a time: for a chunk of channels its query is laid out by phase, and each
// row of taps keeps taps x phases sums in registers while the channels pass.
#pragma once
#include "planes.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct CorrelateRows {
  static constexpr int F = S * S;
  static constexpr int phases = F <= 4 ? F : S;  // kept in registers together
  static constexpr int budget = (register_bytes == 64 ? 20 : 12) / phases;
  static constexpr int taps = K <= budget ? K : budget;  // of one row, likewise
  static constexpr int64_t chunk = 64;                   // channels whose query stays in the caches
  // Of one vector of pixels; a little more than a power of two, which would put all vectors on the same cache sets.
  static constexpr int64_t vector_query = (chunk * F + 2) * lanes<T>, vector_sums = K * K * F * lanes<T>;

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t pixel_pitch = p.channels_last ? p.groups * p.channels : 1;
  int64_t target_plane = F * width * height;
  // Vectors of pixels that are read together: the longest runs of memory that the caches have room for.
  int64_t tile = lesser(64 / lanes<T>, vectors<T>(width));

  // Some vectors of pixels of one source row.
  struct Tile {
    int64_t y, first, last;
  };
  int64_t first_target(int64_t y, int64_t v, int a) const {
    return (S * y + a) * S * width + S * first_pixel<T>(v, width);
  }

  // to[vector][channel][phase] of `count` channels of a tile.
  void lay_out_query(const T* query, Tile at, int64_t count, T* to) const {
    if (p.channels_last) {
      for (int64_t v = at.first; v < at.last; ++v, to += vector_query)
        for (int f = 0; f < F; ++f)
          transpose(query + (first_target(at.y, v, f / S) + f % S) * pixel_pitch, S * pixel_pitch,
                    lesser(width, lanes<T>), to + f * lanes<T>, F * lanes<T>, count);
      return;
    }
    for (int64_t n = 0; n < count; ++n)
      for (int a = 0; a < S; ++a)
        for (int64_t v = at.first; v < at.last; ++v) {
          Vec<T> phase[S];
          load_targets<S>(query + n * target_plane + first_target(at.y, v, a), width, phase);
          T* vector = to + (v - at.first) * vector_query + (n * F + a * S) * lanes<T>;
          for (int b = 0; b < S; ++b) store(vector + b * lanes<T>, phase[b]);
        }
  }

  // Vector m of n of a tile has its next channels laid out soon. Of planes, which lie a power of two apart more often
  // than not, most would be lost again before they are used.
  void foresee(const T* query, Tile at, int64_t count, int64_t v) const {
    if (!p.channels_last) return;
    for (int a = 0; a < S; ++a)
      for (int64_t t = 0; t < S * lesser(width, lanes<T>); ++t)
        prefetch(query + (first_target(at.y, v, a) + t) * pixel_pitch, count);
  }

  // sums[tap][phase] += over `count` channels, TN taps of a row and the phases of a pass.
  template <int TN>
  static KARAFFE_INLINE void block(const T* source, int64_t channel_pitch, const T* query, int64_t count, T* sums) {
    Vec<T> acc[TN][phases];
#pragma GCC unroll 8
    for (int j = 0; j < TN; ++j)
#pragma GCC unroll 8
      for (int f = 0; f < phases; ++f) acc[j][f] = load(sums + (j * F + f) * lanes<T>);
    for (int64_t c = 0; c < count; ++c, source += channel_pitch, query += F * lanes<T>) {
      Vec<T> q[phases];
#pragma GCC unroll 8
      for (int f = 0; f < phases; ++f) q[f] = load(query + f * lanes<T>);
#pragma GCC unroll 8
      for (int j = 0; j < TN; ++j) {
        const Vec<T> v = load(source + j);
#pragma GCC unroll 8
        for (int f = 0; f < phases; ++f) acc[j][f] += v * q[f];
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < TN; ++j)
#pragma GCC unroll 8
      for (int f = 0; f < phases; ++f) store(sums + (j * F + f) * lanes<T>, acc[j][f]);
  }

  template <int TN>
  static void row_of_taps(const T* source, int64_t channel_pitch, const T* query, int64_t count, T* sums) {
    int j = 0;
    for (; j + TN <= K; j += TN)
      for (int f = 0; f < F; f += phases)
        block<TN>(source + j, channel_pitch, query + f * lanes<T>, count, sums + (j * F + f) * lanes<T>);
    if constexpr (K % TN != 0)
      for (int f = 0; f < F; f += phases)
        block<K % TN>(source + j, channel_pitch, query + f * lanes<T>, count, sums + (j * F + f) * lanes<T>);
  }

  // The sums [vector][tap][phase] of a tile into the kernels of its targets.
  void write(const T* sums, Tile at, T* kernels) const {
    if (p.channels_last) {
      const int64_t pitch = p.groups * K * K;
      for (int64_t v = at.first; v < at.last; ++v, sums += vector_sums)
        for (int f = 0; f < F; ++f)
          transpose(sums + f * lanes<T>, F * lanes<T>, K * K,
                    kernels + (first_target(at.y, v, f / S) + f % S) * pitch, S * pitch, lesser(width, lanes<T>));
      return;
    }
    for (int t = 0; t < K * K; ++t)
      for (int a = 0; a < S; ++a)
        for (int64_t v = at.first; v < at.last; ++v) {
          const T* from = sums + (v - at.first) * vector_sums + (t * F + a * S) * lanes<T>;
          Vec<T> phase[S];
          for (int b = 0; b < S; ++b) phase[b] = load(from + b * lanes<T>);
          store_targets<S>(kernels + t * target_plane + first_target(at.y, v, a), width, phase);
        }
  }

  // What a walk over rows keeps.
  struct Walk {
    Scratch<T> sums, laid_out;
    RowRing<T, K> ring;
    explicit Walk(const CorrelateRows& rows)
        : sums(rows.tile * vector_sums), laid_out(rows.tile * vector_query), ring(rows.p) {}
    explicit operator bool() const { return sums && laid_out && ring; }
  };

  // Row y of a walk, its first one or the one after the last. `write(tile, sums)` does with the sums
  // [vector][tap][phase] of a tile what is wanted.
  template <class Write>
  void row(Walk& walk, const ImageRows& at, const T* source, const T* query, int64_t y, Write write) const {
    const T* image = source + at.first_value(p, p.channels, width * height);
    const T* targets = query + at.first_value(p, p.channels, target_plane);
    if (y == at.first)
      for (int64_t above = y - K / 2; above < y + K / 2; ++above) walk.ring.fill(image, above);
    walk.ring.fill(image, y + K / 2);
    for (int64_t first = 0; first < vectors<T>(width); first += tile) {
      const Tile here{y, first, lesser(first + tile, vectors<T>(width))};
      sum(walk, targets, here);
      write(here, walk.sums.get());
    }
  }

  void sum(Walk& walk, const T* targets, Tile here) const {
    const RowRing<T, K>& ring = walk.ring;
    std::memset(walk.sums.get(), 0, tile * vector_sums * sizeof(T));
    for (int64_t c = 0; c < p.channels; c += chunk) {
      const int64_t count = lesser(chunk, p.channels - c);
      const T* here_query = targets + c * (p.channels_last ? 1 : target_plane);
      lay_out_query(here_query, here, count, walk.laid_out.get());
      for (int64_t v = here.first; v < here.last; ++v) {
        foresee(here_query + chunk, here, lesser(chunk, p.channels - c - chunk), v);
        const int64_t x = first_pixel<T>(v, width) - K / 2;
        for (int i = 0; i < K; ++i)
          row_of_taps<taps>(ring.row(here.y + i - K / 2) + c * ring.channel_pitch() + x, ring.channel_pitch(),
                            walk.laid_out.get() + (v - here.first) * vector_query, count,
                            walk.sums.get() + (v - here.first) * vector_sums + i * K * F * lanes<T>);
      }
    }
  }

  // `write(at, tile, sums)`, as in `row`, for the rows of all images and groups.
  template <class Write>
  bool run_rows(const T* source, const T* query, int64_t begin, int64_t end, Write write) const {
    Walk walk(*this);
    if (!walk) return false;
    return for_each_image(p, begin, end, [&](ImageRows at) {
      for (int64_t y = at.first; y < at.last; ++y)
        row(walk, at, source, query, y, [&](Tile tile, T* sums) { write(at, tile, sums); });
    });
  }

  bool run(const T* source, const T* query, T* kernels, int64_t begin, int64_t end) const {
    return run_rows(source, query, begin, end, [&](const ImageRows& rows, Tile at, const T* sums) {
      write(sums, at, kernels + rows.first_value(p, K * K, target_plane));
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
