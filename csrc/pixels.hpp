// What the channels-last kernels share: channels ride in the lanes, a few vectors of them at a time.
#pragma once
#include "rows.hpp"

namespace karaffe::KARAFFE_SET {

// The last K rows of one group's channels, in blocks of B channels that lie together, with the border around them as
// the padding mode wants it. Packed so, the pixels of a window never fall on the same cache sets, as they do in the
// tensor where a pixel is a power of two long. Channels beyond the last are zeros.
template <class T, int K, int B>
class PixelRing {
 public:
  explicit PixelRing(const Problem& p)
      : problem_(p),
        row_pitch_((p.axis[2].source + K - 1) * B),
        blocks_((p.channels + B - 1) / B),
        data_(blocks_ * K * row_pitch_) {}
  explicit operator bool() const { return static_cast<bool>(data_); }

  // Pixel -K/2 of row y of a block; y from -K on.
  const T* row(int64_t block, int64_t y) const { return data_.get() + (block * K + (y + K) % K) * row_pitch_; }

  // Read row y, which may lie outside, of the image whose first pixel's channels of this group start at `image`.
  void fill(const T* image, int64_t y) {
    const int64_t width = problem_.axis[2].source, pitch = problem_.groups * problem_.channels;
    const int64_t from = fold(y, problem_.axis[1].source, problem_.border);
    T* row = data_.get() + (y + K) % K * row_pitch_;
    if (from == outside) {
      for (int64_t b = 0; b < blocks_; ++b) std::memset(row + b * K * row_pitch_, 0, row_pitch_ * sizeof(T));
      return;
    }
    const T* source = image + from * width * pitch;
    for (int64_t x = 0; x < width; ++x) copy_pixel(source + x * pitch, row + (x + K / 2) * B);
    for (int m = 1; m <= K / 2; ++m) {
      copy_border(source, fold(-m, width, problem_.border), row + (K / 2 - m) * B);
      copy_border(source, fold(width - 1 + m, width, problem_.border), row + (width - 1 + m + K / 2) * B);
    }
  }

 private:
  KARAFFE_INLINE void copy_pixel(const T* from, T* to) {
    int64_t left = problem_.channels;
    for (; left >= B; left -= B, from += B, to += K * row_pitch_)
#pragma GCC unroll 8
      for (int v = 0; v < B; v += lanes<T>) store(to + v, load(from + v));
    if (left == 0) return;
    for (int v = 0; v < B; v += lanes<T>)
      if (left >= v + lanes<T>) store(to + v, load(from + v));
      else store(to + v, load_first(from + v, static_cast<int>(greater(0, left - v))));
  }
  void copy_border(const T* source, int64_t column, T* to) {
    if (column != outside) return copy_pixel(source + column * problem_.groups * problem_.channels, to);
    for (int64_t b = 0; b < blocks_; ++b) std::memset(to + b * K * row_pitch_, 0, B * sizeof(T));
  }

  const Problem& problem_;
  int64_t row_pitch_, blocks_;
  Scratch<T> data_;
};

// CV vectors of channels, of which there are `count`; absent ones read as zero and are not written.
template <int CV, class T>
KARAFFE_INLINE void load_channels(const T* from, int64_t count, Vec<T> (&v)[CV]) {
#pragma GCC unroll 8
  for (int c = 0; c < CV; ++c)
    if (count >= (c + 1) * lanes<T>) v[c] = load(from + c * lanes<T>);
    else v[c] = load_first(from + c * lanes<T>, static_cast<int>(greater(0, count - c * lanes<T>)));
}
template <int CV, class T>
KARAFFE_INLINE void store_channels(T* to, int64_t count, const Vec<T> (&v)[CV]) {
#pragma GCC unroll 8
  for (int c = 0; c < CV; ++c)
    if (count >= (c + 1) * lanes<T>) store(to + c * lanes<T>, v[c]);
    else if (count > c * lanes<T>) store_first(to + c * lanes<T>, static_cast<int>(count - c * lanes<T>), v[c]);
}

}  // namespace karaffe::KARAFFE_SET
