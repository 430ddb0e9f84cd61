// Rows of pixels as the kernels of local attention hold them: channels last, from and to either layout.
#pragma once
#include "attention.hpp"
#include "layouts.hpp"

namespace karaffe::KARAFFE_SET {

// Values from pixel to pixel of `channels` that are padded with zeros to whole vectors. Never a multiple of two cache
// lines, so that the pixels of a window do not fall on the same cache sets.
template <class T>
KARAFFE_INLINE int64_t padded_pitch(int64_t channels) {
  constexpr int64_t line = 64 / sizeof(T);
  const int64_t pitch = round_up(channels, lanes<T>);
  return pitch >= line && pitch % (2 * line) == 0 ? pitch + line : pitch;
}

// to[pixel * to_pitch + c] for `count` pixels and channels first … first+channels-1 of an image. What is read next is
// `ahead` pixels on: from planes it comes in pieces too short for the processor to foresee.
template <class T>
static void read_pixels(const Map<const T>& map, int64_t image, int64_t first, int64_t channels, int64_t pixel,
                        int64_t count, int64_t ahead, T* to, int64_t to_pitch) {
  if (map.channels_last) {
    const T* from = map.data + (image * map.pixels + pixel) * map.channels + first;
    for (int64_t x = 0; x < count; ++x) std::memcpy(to + x * to_pitch, from + x * map.channels, channels * sizeof(T));
    return;
  }
  const T* from = map.data + (image * map.channels + first) * map.pixels + pixel;
  for (int64_t c = 0; c < channels; ++c) prefetch(from + c * map.pixels + ahead, count);
  transpose(from, map.pixels, channels, to, to_pitch, count);
}

// The inverse.
template <class T>
static void write_pixels(const Map<T>& map, int64_t image, int64_t first, int64_t channels, int64_t pixel,
                         int64_t count, const T* from, int64_t from_pitch) {
  if (map.channels_last) {
    T* to = map.data + (image * map.pixels + pixel) * map.channels + first;
    for (int64_t x = 0; x < count; ++x) std::memcpy(to + x * map.channels, from + x * from_pitch, channels * sizeof(T));
    return;
  }
  T* to = map.data + (image * map.channels + first) * map.pixels + pixel;
  transpose(from, from_pitch, count, to, map.pixels, channels);
}

// Which source rows a ring holds: as many as are in use together, each in a place of its own.
class RowPlaces {
 public:
  explicit RowPlaces(const Attention& a)
      : depth_(a.axis[0].span),
        height_(a.axis[0].source > 1 ? a.axis[1].source : a.axis[1].span),
        rows_(a.axis[1].source),
        held_(depth_ * height_) {
    if (held_) clear();
  }
  explicit operator bool() const { return static_cast<bool>(held_); }
  int64_t count() const { return depth_ * height_; }
  int64_t place(int64_t z, int64_t y) const { return z % depth_ * height_ + y % height_; }
  // The row (z * height + y) in a place, or -1.
  int64_t& held(int64_t place) { return held_.get()[place]; }
  void clear() {
    for (int64_t n = 0; n < count(); ++n) held(n) = -1;
  }
  int64_t row(int64_t z, int64_t y) const { return z * rows_ + y; }

 private:
  int64_t depth_, height_, rows_;
  Scratch<int64_t> held_;
};

// The places' pixels, and one more row: what taps outside read, and where nobody looks at what they write.
template <class T>
class PixelRows {
 public:
  PixelRows(const RowPlaces& places, int64_t width, int64_t channels)
      : pitch(padded_pitch<T>(channels)), row_(width * pitch), data_((places.count() + 1) * row_) {
    if (data_) std::memset(data_.get(), 0, (places.count() + 1) * row_ * sizeof(T));
  }
  explicit operator bool() const { return static_cast<bool>(data_); }
  T* data() const { return data_.get(); }
  T* row(int64_t place) const { return data_.get() + place * row_; }
  void clear(int64_t place) const { std::memset(row(place), 0, row_ * sizeof(T)); }

  const int64_t pitch;

 private:
  int64_t row_;
  Scratch<T> data_;
};

}  // namespace karaffe::KARAFFE_SET
