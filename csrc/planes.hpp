// Source rows for kernels with pixels in the lanes.
#pragma once
#include "layouts.hpp"

namespace karaffe::KARAFFE_SET {

// The last `Rows` rows of every channel of a group, plane by plane, with the border around them as the padding mode has
// it for a window of K.
template <class T, int K, int Rows = K>
class RowRing {
 public:
  explicit RowRing(const Problem& p)
      : problem_(p),
        channels_(p.channels),
        pitch_(round_up(p.axis[2].source, lanes<T>) + 2 * margin),
        data_(p.channels * Rows * pitch_ + lanes<T>) {
    if (data_) std::memset(data_.get(), 0, channels_ * Rows * pitch_ * sizeof(T));
  }
  explicit operator bool() const { return static_cast<bool>(data_); }

  int64_t channel_pitch() const { return Rows * pitch_; }
  // Pixel 0 of row y of the first channel; y from -Rows on.
  const T* row(int64_t y) const { return data_.get() + (y + Rows) % Rows * pitch_ + margin; }

  // Read row y, which may lie outside, of the image and group whose first value is at `source`.
  void fill(const T* source, int64_t y) {
    const int64_t width = problem_.axis[2].source, from = fold(y, problem_.axis[1].source, problem_.border);
    if (!problem_.channels_last || from == outside) return fill(source, y, 0, channels_);
    T* to = data_.get() + (y + Rows) % Rows * pitch_ + margin;
    const int64_t pixel_pitch = problem_.groups * channels_;
    transpose(source + from * width * pixel_pitch, pixel_pitch, width, to, channel_pitch(), channels_);
    for (int64_t c = 0; c < channels_; ++c) fill_border(to + c * channel_pitch());
  }
  // The same for channels c … c+count-1 of planes.
  void fill(const T* planes, int64_t y, int64_t c, int64_t count) {
    const int64_t width = problem_.axis[2].source, height = problem_.axis[1].source;
    const int64_t from = fold(y, height, problem_.border);
    T* to = data_.get() + (y + Rows) % Rows * pitch_ + margin + c * channel_pitch();
    for (; count > 0; --count, ++c, to += channel_pitch()) {
      if (from == outside) {
        std::memset(to, 0, width * sizeof(T));
        continue;
      }
      copy_row(to, planes + (c * height + from) * width);
      fill_border(to);
    }
  }

  // Row y of channels c … c+count-1 is going to be filled in soon.
  void foresee(const T* planes, int64_t y, int64_t c, int64_t count, int64_t x, int64_t pixels) const {
    const int64_t width = problem_.axis[2].source, height = problem_.axis[1].source;
    if (y >= height) return;
    for (int64_t n = c; n < c + count; ++n) prefetch(planes + (n * height + y) * width + x, pixels);
  }

 private:
  static constexpr int margin = register_bytes == 64 ? 64 / sizeof(T) : 4;
  static_assert(margin >= K / 2);

  void copy_row(T* to, const T* from) const {
    const int64_t width = problem_.axis[2].source;
    if (width < lanes<T>) std::memcpy(to, from, width * sizeof(T));
    else
      for (int64_t v = 0; v < vectors<T>(width); ++v) {
        const int64_t x = first_pixel<T>(v, width);
        store(to + x, load(from + x));
      }
  }
  void fill_border(T* row) const {
    const int64_t width = problem_.axis[2].source;
    if (problem_.border == Border::zeros) return;
    for (int m = 1; m <= K / 2; ++m) {
      row[-m] = row[fold(-m, width, problem_.border)];
      row[width - 1 + m] = row[fold(width - 1 + m, width, problem_.border)];
    }
  }

  const Problem& problem_;
  int64_t channels_, pitch_;
  Scratch<T> data_;
};

}  // namespace karaffe::KARAFFE_SET
