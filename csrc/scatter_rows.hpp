// Scatter, s x s targets a source pixel, in both layouts. The targets of one source row after the other send to the
// K result rows in reach, which are kept in a ring; a result row is done when no later targets reach it.
#pragma once
#include "layouts.hpp"

namespace karaffe::KARAFFE_SET {

// The last K result rows in blocks of B channels that lie together, with a margin for what is sent beyond the border.
template <class T, int K, int B>
class ResultRing {
 public:
  explicit ResultRing(const Problem& p)
      : problem_(p), row_pitch_((p.axis[2].source + K - 1) * B), blocks_((p.channels + B - 1) / B),
        data_(blocks_ * K * row_pitch_) {}
  explicit operator bool() const { return static_cast<bool>(data_); }

  // Pixel -K/2 of row y of a block.
  T* row(int64_t block, int64_t y) { return data_.get() + (block * K + y % K) * row_pitch_; }

  void clear(int64_t y) {
    for (int64_t b = 0; b < blocks_; ++b) std::memset(row(b, y), 0, row_pitch_ * sizeof(T));
  }

  // Row y into the result of an image and group whose first value is at `to`.
  void write(int64_t y, T* to) {
    const int64_t width = problem_.axis[2].source, height = problem_.axis[1].source;
    const int64_t pixel_pitch = problem_.groups * problem_.channels;
    for (int64_t b = 0; b < blocks_; ++b) {
      const int64_t count = lesser(B, problem_.channels - b * B);
      T* from = row(b, y);
      fold_margins(from);
      from += K / 2 * B;
      if (!problem_.channels_last)
        transpose(from, B, width, to + (b * B * height + y) * width, height * width, count);
      else
        for (int64_t x = 0; x < width; ++x)
          copy_values(from + x * B, to + (y * width + x) * pixel_pitch + b * B, count);
    }
  }

 private:
  void fold_margins(T* row) const {
    const int64_t width = problem_.axis[2].source;
    for (int m = 0; m < K / 2; ++m) {
      add_pixel(row + m * B, fold(m - K / 2, width, problem_.border), row);
      add_pixel(row + (width + K / 2 + m) * B, fold(width + m, width, problem_.border), row);
    }
  }
  static void add_pixel(const T* from, int64_t column, T* row) {
    if (column == outside) return;
    T* to = row + (column + K / 2) * B;
    for (int c = 0; c < B; c += lanes<T>) store(to + c, load(to + c) + load(from + c));
  }

  const Problem& problem_;
  int64_t row_pitch_, blocks_;
  Scratch<T> data_;
};

template <class T, int K, int S>
struct ScatterRows {
  static constexpr int block_vectors = register_bytes == 64 ? (K <= 5 ? 4 : 3) : (K <= 3 ? 3 : K <= 5 ? 2 : 1);
  static constexpr int B = block_vectors * lanes<T>;
  static constexpr int64_t strip = 16;  // source pixels whose query stays in the first cache for all K result rows

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t targets = S * S * height * width;
  // From target to target and from channel to channel.
  int64_t target_pitch = p.channels_last ? p.groups * p.channels : 1, channel_pitch = p.channels_last ? 1 : targets;
  // Source pixels that are read together: the longest runs of memory that the caches have room for.
  int64_t tile = lesser(p.channels_last ? strip : 64, width);
  int64_t row_targets = S * tile;
  int64_t tap_row = S * row_targets * K;  // kernels of a tile for one row of taps
  int64_t blocks = (p.channels + B - 1) / B, blocks_together = p.channels_last ? blocks : 1;

  // One tile of one source row.
  struct Tile {
    int64_t y, x, count;
  };
  int64_t first_target(Tile at, int a) const { return (S * at.y + a) * S * width + S * at.x; }

  // to[tap row][target row][target][tap] of a tile, from kernels as they are.
  void lay_out_kernels(const T* kernels, Tile at, T* to) const {
    const int64_t pitch = p.groups * K * K;
    for (int a = 0; a < S; ++a, to += row_targets * K) {
      const T* from = kernels + first_target(at, a) * (p.channels_last ? pitch : 1);
      if (!p.channels_last)
        for (int i = 0; i < K; ++i) transpose(from + i * K * targets, targets, K, to + i * tap_row, K, S * at.count);
      else
        for (int64_t t = 0; t < S * at.count; ++t)
          for (int i = 0; i < K; ++i)
            std::memcpy(to + i * tap_row + t * K, from + t * pitch + i * K, K * sizeof(T));
      const Tile soon = next(at);
      if (p.channels_last) prefetch(kernels + first_target(soon, a) * pitch, S * soon.count * pitch);
    }
  }

  // to[block][target row][target][channel] of a tile. Channels beyond the last hold what they held.
  void lay_out_query(const T* query, Tile at, int64_t channels, T* to) const {
    for (int a = 0; a < S; ++a, to += row_targets * B) {
      const T* from = query + first_target(at, a) * target_pitch;
      if (!p.channels_last) transpose(from, targets, channels, to, B, S * at.count);
      else
        for (int64_t t = 0; t < S * at.count; ++t)
          for (int64_t c = 0; c < channels; c += B)
            copy_values(from + t * target_pitch + c, to + c * S * row_targets + t * B, lesser(B, channels - c));
    }
  }
  // Part m of n of a tile is going to be laid out soon.
  void foresee(const T* query, Tile at, int64_t m, int64_t n) const {
    const int64_t all = S * at.count;
    for (int a = 0; a < S; ++a)
      for (int64_t t = all * m / n; t < all * (m + 1) / n; ++t)
        prefetch(query + (first_target(at, a) + t) * target_pitch, p.channels);
  }

  // What a strip sends to one result row through one row of taps: a sweep with the K results in reach in registers.
  template <int CV>
  void sweep(const T* kernels, const T* query, int64_t count, T* result) const {
    Vec<T> acc[K][CV] = {};
    for (int64_t x = 0; x < count; ++x, result += B) {
      const T *kernel = kernels + S * x * K, *q = query + S * x * B;
      for (int a = 0; a < S; ++a, kernel += row_targets * K, q += row_targets * B)
#pragma GCC unroll 4
        for (int b = 0; b < S; ++b) {
          Vec<T> v[CV];
#pragma GCC unroll 8
          for (int c = 0; c < CV; ++c) v[c] = load(q + b * B + c * lanes<T>);
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) {
            const Vec<T> w = splat(kernel[b * K + j]);
#pragma GCC unroll 8
            for (int c = 0; c < CV; ++c) acc[j][c] += w * v[c];
          }
        }
      add<CV>(acc[0], result);
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j)
#pragma GCC unroll 8
        for (int c = 0; c < CV; ++c) acc[j][c] = j + 1 < K ? acc[(j + 1) % K][c] : Vec<T>{};
    }
#pragma GCC unroll 8
    for (int j = 0; j + 1 < K; ++j) add<CV>(acc[j], result + j * B);
  }
  template <int CV>
  static KARAFFE_INLINE void add(const Vec<T> (&v)[CV], T* to) {
#pragma GCC unroll 8
    for (int c = 0; c < CV; ++c) store(to + c * lanes<T>, load(to + c * lanes<T>) + v[c]);
  }

  // Block b of channels, of as many vectors as it needs, of a tile that is laid out.
  template <int CV = block_vectors>
  void block(const ImageRows& rows, Tile at, const T* kernels, const T* query, int64_t b,
             ResultRing<T, K, B>& ring) const {
    if constexpr (CV > 1)
      if (p.channels - b * B <= (CV - 1) * lanes<T>) return block<CV - 1>(rows, at, kernels, query, b, ring);
    for (int64_t x = 0; x < at.count; x += strip)
      for (int i = 0; i < K; ++i) {
        const int64_t y = fold(at.y + i - K / 2, height, p.border);
        if (y < rows.first || y >= rows.last) continue;  // also `outside`
        sweep<CV>(kernels + i * tap_row + S * x * K, query + S * x * B, lesser(strip, at.count - x),
                  ring.row(b, y) + (at.x + x) * B);
      }
  }

  Tile next(Tile at) const {
    if (at.x + tile < width) return {at.y, at.x + tile, lesser(tile, width - at.x - tile)};
    return {at.y + 1, 0, at.y + 1 < height ? tile : 0};
  }

  // `lay_out(at, tile, to)` lays the kernels of a tile out.
  template <class LayOut>
  bool run_rows(const T* query, T* result, int64_t begin, int64_t end, LayOut lay_out) const {
    ResultRing<T, K, B> ring(p);
    const int64_t query_block = S * row_targets * B;
    Scratch<T> kernels(K * tap_row), laid_out(blocks_together * query_block);
    if (!ring || !kernels || !laid_out) return false;
    std::memset(laid_out.get(), 0, blocks_together * query_block * sizeof(T));
    return for_each_image(p, begin, end, [&](ImageRows rows) {
      const T* from = query + rows.first_value(p, p.channels, targets);
      T* to = result + rows.first_value(p, p.channels, height * width);
      for (int64_t y = rows.first - K / 2; y < rows.last + K / 2; ++y) {
        if (y + K / 2 < rows.last) ring.clear(y + K / 2);
        for (Tile at{y, 0, y >= 0 && y < height ? tile : 0}; at.y == y && at.count; at = next(at)) {
          lay_out(rows, at, kernels.get());
          for (int64_t b = 0; b < blocks; ++b) {
            if (b % blocks_together == 0)
              lay_out_query(from + b * B * channel_pitch, at, lesser(blocks_together * B, p.channels - b * B),
                            laid_out.get());
            if (p.channels_last) foresee(from, next(at), b, blocks);
            block(rows, at, kernels.get(), laid_out.get() + b % blocks_together * query_block, b, ring);
          }
        }
        if (y - K / 2 >= rows.first) ring.write(y - K / 2, to);
      }
    });
  }

  bool run(const T* kernels, const T* query, T* result, int64_t begin, int64_t end) const {
    return run_rows(query, result, begin, end, [&](const ImageRows& rows, Tile at, T* to) {
      lay_out_kernels(kernels + rows.first_value(p, K * K, targets), at, to);
    });
  }
};

}  // namespace karaffe::KARAFFE_SET
