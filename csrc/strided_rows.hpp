// What the strided kernels share: planes of which every target reads the window around every s-th source pixel, by
// whole factors of rows and columns, any window, dilation and border. A source row is split once into its s phases, the
// columns that leave the same rest by s: there neighbouring targets read neighbouring values, and targets ride in the
// lanes. The work is cut into bands of target rows, whose kernels the second cache holds while one block of channels
// after the other passes through the first.
#pragma once
#include "layouts.hpp"

namespace karaffe::KARAFFE_SET {

// From s times a target's index to the source index that its tap i reads.
KARAFFE_INLINE int64_t displacement(const Problem& p, const Axis& axis, int64_t i) {
  const int64_t middle = p.alignment == Alignment::center ? axis.source / axis.target / 2 : 0;
  return middle + (i - (axis.taps - 1) / 2) * axis.dilation;
}
KARAFFE_INLINE int64_t rest(int64_t a, int64_t b) { return (a % b + b) % b; }

// A row of source columns split into phases, one after the other, each with a margin for what lies beyond the border.
template <class T>
class SplitRow {
 public:
  explicit SplitRow(const Problem& p)
      : problem_(p), stride_(p.axis[2].source / p.axis[2].target), width_(p.axis[2].target),
        left_(greater(0, -whole(displacement(p, p.axis[2], 0)))),
        right_(greater(0, whole(displacement(p, p.axis[2], p.axis[2].taps - 1)))),
        before_(round_up(left_, lanes<T>)), pitch_(before_ + round_up(width_ + right_, lanes<T>)),
        beyond_(stride_ * (left_ + right_)) {
    if (beyond_ && p.border != Border::zeros) find_beyond();
  }
  explicit operator bool() const { return static_cast<bool>(beyond_); }

  int64_t stride() const { return stride_; }
  int64_t size() const { return stride_ * pitch_; }
  // Columns that taps reach to the left and to the right of a phase's own.
  int64_t left() const { return left_; }
  int64_t right() const { return right_; }
  // Where a phase's own columns begin.
  int64_t place_of_phase(int64_t b) const { return b * pitch_ + before_; }
  // The phase that tap j reads, and which of its columns target 0 does; target x reads the x-th after it.
  int64_t phase(int64_t j) const { return rest(displacement(problem_, problem_.axis[2], j), stride_); }
  int64_t column(int64_t j) const { return whole(displacement(problem_, problem_.axis[2], j)); }

  // The columns of several rows, which begin `pitch` and `row_pitch` values after each other. Zeros beyond the border
  // are not written: they stand in the rows from before.
  void split(const T* from, int64_t pitch, T* rows, int64_t row_pitch, int64_t count) const {
    with_stride([&]<int S>() {
      for (; count > 0; --count, from += pitch, rows += row_pitch) {
        split_row<S>(from, rows);
        for (int64_t n = 0; n < count_beyond_; ++n) rows[beyond_.get()[n].place] = rows[beyond_.get()[n].column];
      }
    });
  }

  // What was sent to split rows, as the columns: what lies beyond the border falls where its border says.
  void join(T* rows, int64_t row_pitch, T* to, int64_t pitch, int64_t count) const {
    with_stride([&]<int S>() {
      for (; count > 0; --count, to += pitch, rows += row_pitch) {
        for (int64_t n = 0; n < count_beyond_; ++n) rows[beyond_.get()[n].column] += rows[beyond_.get()[n].place];
        join_row<S>(rows, to);
      }
    });
  }

 private:
  int64_t whole(int64_t at) const { return (at - rest(at, stride_)) / stride_; }

  // A place beyond the border, and that of the column it stands for.
  struct Beyond {
    int64_t place, column;
  };
  void find_beyond() {
    const int64_t source = problem_.axis[2].source;
    for (int64_t b = 0; b < stride_; ++b)
      for (int64_t u = -left_; u < width_ + right_; u = u == -1 ? width_ : u + 1) {
        if (u >= 0 && u < width_) continue;
        const int64_t column = fold(u * stride_ + b, source, problem_.border);
        beyond_.get()[count_beyond_++] = {b * pitch_ + before_ + u,
                                          column % stride_ * pitch_ + before_ + column / stride_};
      }
  }
  // visit<S>() for the strides that the shuffles know, visit<0>() for others.
  template <class Visit>
  void with_stride(Visit visit) const {
    if (stride_ == 1) visit.template operator()<1>();
    else if (stride_ == 2) visit.template operator()<2>();
    else if (stride_ == 4) visit.template operator()<4>();
    else visit.template operator()<0>();
  }
  template <int S>
  KARAFFE_INLINE void split_row(const T* from, T* row) const {
    if constexpr (S == 0)
      for (int64_t b = 0; b < stride_; ++b)
        for (int64_t u = 0; u < width_; ++u) row[place_of_phase(b) + u] = from[u * stride_ + b];
    else
      for (int64_t v = 0; v < vectors<T>(width_); ++v) {
        const int64_t x = first_pixel<T>(v, width_);
        Vec<T> phase[S];
        load_targets<S>(from + S * x, width_, phase);
        for (int b = 0; b < S; ++b) store(row + place_of_phase(b) + x, phase[b]);
      }
  }
  template <int S>
  KARAFFE_INLINE void join_row(const T* row, T* to) const {
    if constexpr (S == 0)
      for (int64_t b = 0; b < stride_; ++b)
        for (int64_t u = 0; u < width_; ++u) to[u * stride_ + b] = row[place_of_phase(b) + u];
    else
      for (int64_t v = 0; v < vectors<T>(width_); ++v) {
        const int64_t x = first_pixel<T>(v, width_);
        Vec<T> phase[S];
        for (int b = 0; b < S; ++b) phase[b] = load(row + place_of_phase(b) + x);
        store_targets<S>(to + S * x, width_, phase);
      }
  }

  const Problem& problem_;
  int64_t stride_, width_, left_, right_, before_, pitch_, count_beyond_ = 0;
  Scratch<Beyond> beyond_;
};

// A band: a run of target rows of one image and group, and where its planes begin in each tensor.
struct StridedRows {
  int64_t first, last, source, target, kernels;
  int64_t count() const { return last - first; }
};

// Calls visit(StridedRows) for target rows begin … end-1 of all images and groups, at most `most` at a time.
template <class Visit>
void for_each_band(const Problem& p, int64_t begin, int64_t end, int64_t most, Visit visit) {
  const int64_t height = p.axis[1].target;
  while (begin < end) {
    const int64_t plane = begin / height, first = begin % height;
    const int64_t last = lesser(height, first + lesser(most, end - begin));
    visit(StridedRows{first, last, plane * p.channels * p.source_pixels(), plane * p.channels * p.target_pixels(),
                      plane * p.taps() * p.target_pixels()});
    begin += last - first;
  }
}

// Rows of `count` target maps, row by row, each row with its maps side by side: in the planes, which are often a power
// of two apart, they fall on the same few places of the caches. Around each row are zeros.
template <class T>
class PackedRows {
 public:
  PackedRows(int64_t rows, int64_t count, int64_t width, int64_t margin)
      : count_(count), width_(width), before_(round_up(margin, lanes<T>)),
        pitch_(before_ + round_up(width + margin, lanes<T>)), values_(rows * count * pitch_), data_(values_) {
    if (data_) clear();
  }
  explicit operator bool() const { return static_cast<bool>(data_); }

  void clear() { std::memset(data_.get(), 0, values_ * sizeof(T)); }
  T* data() const { return data_.get(); }
  int64_t pitch() const { return pitch_; }
  // Where the first target of a map in a row is.
  int64_t offset(int64_t row, int64_t map) const { return (row * count_ + map) * pitch_ + before_; }

  // Rows of the first `maps` maps from planes that begin `plane` values after each other.
  void read(const T* planes, int64_t plane, int64_t rows, int64_t maps) {
    for (int64_t m = 0; m < maps; ++m)
      for (int64_t y = 0; y < rows; ++y)
        copy_values(planes + m * plane + y * width_, data_.get() + offset(y, m), width_);
  }
  void write(T* planes, int64_t plane, int64_t rows) const {
    for (int64_t m = 0; m < count_; ++m)
      for (int64_t y = 0; y < rows; ++y)
        copy_values(data_.get() + offset(y, m), planes + m * plane + y * width_, width_);
  }

 private:
  int64_t count_, width_, before_, pitch_, values_;
  Scratch<T> data_;
};

// The rows in reach of a target row, of a block of planes, split.
template <class T>
class StridedRing {
 public:
  StridedRing(const Problem& p, int64_t channels)
      : problem_(p), row_(p), stride_(p.axis[1].source / p.axis[1].target),
        rows_((p.axis[1].taps - 1) * p.axis[1].dilation + 1), channel_pitch_(rows_ * row_.size() + lanes<T>),
        data_(channels * channel_pitch_) {
    if (data_) std::memset(data_.get(), 0, channels * channel_pitch_ * sizeof(T));
  }
  explicit operator bool() const { return row_ && data_; }

  const SplitRow<T>& row() const { return row_; }
  const T* data() const { return data_.get(); }
  int64_t channel_pitch() const { return channel_pitch_; }
  // Where row y of the first channel begins.
  int64_t offset(int64_t y) const { return y % rows_ * row_.size(); }

  // Rows of `count` planes that target row y is the first to reach, of those from target row `first` on.
  void read(const T* planes, int64_t y, int64_t first, int64_t count) {
    for (int64_t q = from(y, first), last = to(y); q < last; ++q)
      row_.split(planes + q * problem_.axis[2].source, problem_.source_pixels(), data_.get() + offset(q),
                 channel_pitch_, count);
  }
  // Target row y is going to read these rows: of planes c … c+count-1, the part that has as large a share of them as
  // `targets` from x on have of their row.
  void foresee(const T* planes, int64_t y, int64_t first, int64_t c, int64_t count, int64_t x, int64_t targets) const {
    const int64_t width = problem_.axis[2].source, share = (to(y) - from(y, first)) * row_.stride();
    planes += from(y, first) * width + x * share;
    for (; count > 0; --count, ++c) prefetch(planes + c * problem_.source_pixels(), targets * share);
  }

 private:
  int64_t to(int64_t y) const {
    const Axis& rows = problem_.axis[1];
    return lesser(rows.source, stride_ * y + displacement(problem_, rows, rows.taps - 1) + 1);
  }
  int64_t from(int64_t y, int64_t first) const {
    return greater(y > first ? to(y - 1) : 0, stride_ * y + displacement(problem_, problem_.axis[1], 0));
  }

  const Problem& problem_;
  SplitRow<T> row_;
  int64_t stride_, rows_, channel_pitch_;
  Scratch<T> data_;
};

// What the rows of a result sum: for each row a list of products, by where their factors begin.
class Terms {
 public:
  struct Term {
    int64_t kernel, map;
  };
  Terms(int64_t rows, int64_t most) : first_(rows + 1), terms_(most) {}
  explicit operator bool() const { return first_ && terms_; }

  // Rows are given one after the other, from 0 on: begin(0), add …, begin(1), …, and begin(rows) ends them.
  void begin(int64_t row) {
    if (row == 0) added_ = 0;
    first_.get()[row] = added_;
  }
  void add(int64_t kernel, int64_t map) { terms_.get()[added_++] = {kernel, map}; }

  const Term* of(int64_t row) const { return terms_.get() + first_.get()[row]; }
  int64_t count(int64_t row) const { return first_.get()[row + 1] - first_.get()[row]; }

 private:
  int64_t added_ = 0;
  Scratch<int64_t> first_;
  Scratch<Term> terms_;
};

}  // namespace karaffe::KARAFFE_SET
