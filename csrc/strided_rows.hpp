// What the strided kernels share: planes of which every target reads the window around every s-th source pixel, by
// whole factors of rows and columns, any window, dilation and border. A source row is split once into its s phases, the
// columns that leave the same rest by s: there neighbouring targets read neighbouring values, and targets ride in the
// lanes. The rows in reach of a few channels at a time lie in a ring that the first cache holds.
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
        before_(greater(0, -whole(displacement(p, p.axis[2], 0)))),
        after_(greater(0, whole(displacement(p, p.axis[2], p.axis[2].taps - 1)))),
        pitch_(before_ + round_up(width_, lanes<T>) + after_), beyond_(stride_ * (before_ + after_)) {
    if (beyond_) find_beyond();
  }
  explicit operator bool() const { return static_cast<bool>(beyond_); }

  int64_t size() const { return stride_ * pitch_; }
  // Where target 0 finds tap j; target x finds it x values further.
  int64_t place(int64_t j) const {
    const int64_t at = displacement(problem_, problem_.axis[2], j);
    return rest(at, stride_) * pitch_ + before_ + whole(at);
  }

  void split(const T* from, T* row) const {
    if (stride_ == 1) copy_values(from, row + before_, width_);
    else if (stride_ == 2) split_into<2>(from, row);
    else if (stride_ == 4) split_into<4>(from, row);
    else
      for (int64_t b = 0; b < stride_; ++b)
        for (int64_t u = 0; u < width_; ++u) row[b * pitch_ + before_ + u] = from[u * stride_ + b];
    for (int64_t n = 0; n < count_beyond_; ++n) {
      const Beyond at = beyond_.get()[n];
      row[at.place] = at.column == outside ? T(0) : row[at.column];
    }
  }

  // What was sent to a split row, as the columns: what lies beyond the border falls where its border says.
  void join(T* row, T* to) const {
    for (int64_t n = 0; n < count_beyond_; ++n) {
      const Beyond at = beyond_.get()[n];
      if (at.column != outside) row[at.column] += row[at.place];
    }
    if (stride_ == 1) copy_values(row + before_, to, width_);
    else if (stride_ == 2) join_from<2>(row, to);
    else if (stride_ == 4) join_from<4>(row, to);
    else
      for (int64_t b = 0; b < stride_; ++b)
        for (int64_t u = 0; u < width_; ++u) to[u * stride_ + b] = row[b * pitch_ + before_ + u];
  }

 private:
  int64_t whole(int64_t at) const { return (at - rest(at, stride_)) / stride_; }

  // A place beyond the border, and that of the column it stands for or `outside`.
  struct Beyond {
    int64_t place, column;
  };
  void find_beyond() {
    const int64_t source = problem_.axis[2].source;
    for (int64_t b = 0; b < stride_; ++b)
      for (int64_t u = -before_; u < width_ + after_; u = u == -1 ? width_ : u + 1) {
        if (u >= 0 && u < width_) continue;
        const int64_t column = fold(u * stride_ + b, source, problem_.border);
        beyond_.get()[count_beyond_++] = {
            b * pitch_ + before_ + u,
            column == outside ? outside : column % stride_ * pitch_ + before_ + column / stride_};
      }
  }
  template <int S>
  void split_into(const T* from, T* row) const {
    for (int64_t v = 0; v < vectors<T>(width_); ++v) {
      const int64_t x = first_pixel<T>(v, width_);
      Vec<T> phase[S];
      load_targets<S>(from + S * x, width_, phase);
      for (int b = 0; b < S; ++b) store(row + b * pitch_ + before_ + x, phase[b]);
    }
  }
  template <int S>
  void join_from(const T* row, T* to) const {
    for (int64_t v = 0; v < vectors<T>(width_); ++v) {
      const int64_t x = first_pixel<T>(v, width_);
      Vec<T> phase[S];
      for (int b = 0; b < S; ++b) phase[b] = load(row + b * pitch_ + before_ + x);
      store_targets<S>(to + S * x, width_, phase);
    }
  }

  const Problem& problem_;
  int64_t stride_, width_, before_, after_, pitch_, count_beyond_ = 0;
  Scratch<Beyond> beyond_;
};

// A run of target rows of one image and group, and where its planes begin in each tensor.
struct StridedRows {
  int64_t first, last, source, target, kernels;
};

// Calls visit(StridedRows) for target rows begin … end-1 of all images and groups.
template <class Visit>
bool for_each_strided(const Problem& p, int64_t begin, int64_t end, Visit visit) {
  const int64_t height = p.axis[1].target;
  while (begin < end) {
    const int64_t plane = begin / height, first = begin % height, last = lesser(height, first + end - begin);
    visit(StridedRows{first, last, plane * p.channels * p.source_pixels(), plane * p.channels * p.target_pixels(),
                      plane * p.taps() * p.target_pixels()});
    begin += last - first;
  }
  return true;
}

// The rows in reach, of up to `channels` planes, and the taps of a target row in them.
template <class T>
class StridedRing {
 public:
  struct Tap {
    T* at;           // of target 0 of the first channel
    int64_t number;  // row-major
  };

  StridedRing(const Problem& p, int64_t channels)
      : problem_(p), row_(p), stride_(p.axis[1].source / p.axis[1].target),
        rows_((p.axis[1].taps - 1) * p.axis[1].dilation + 1 + stride_),
        channel_pitch_(rows_ * row_.size() + lanes<T>), data_(channels * channel_pitch_), taps_(p.taps()),
        in_reach_(p.axis[1].taps), places_(p.axis[2].taps) {
    if (*this)
      for (int64_t j = 0; j < p.axis[2].taps; ++j) places_.get()[j] = row_.place(j);
  }
  explicit operator bool() const { return row_ && data_ && taps_ && in_reach_ && places_; }

  int64_t channel_pitch() const { return channel_pitch_; }
  // The first and one past the last source row that target row y reaches, before borders.
  int64_t reach(int64_t y) const { return stride_ * y + displacement(problem_, problem_.axis[1], 0); }
  int64_t reach_end(int64_t y) const {
    return stride_ * y + displacement(problem_, problem_.axis[1], problem_.axis[1].taps - 1) + 1;
  }
  int64_t stride() const { return stride_; }

  // Source rows from … to-1 of `count` planes.
  void read(const T* planes, int64_t from, int64_t to, int64_t count) {
    const int64_t width = problem_.axis[2].source;
    for (int64_t c = 0; c < count; ++c)
      for (int64_t y = from; y < to; ++y) row_.split(planes + c * problem_.source_pixels() + y * width, row(c, y));
  }
  // Those rows of planes c … c+count-1 are going to be read or written soon.
  void foresee(const T* planes, int64_t from, int64_t to, int64_t c, int64_t count) const {
    const int64_t width = problem_.axis[2].source;
    if (from < to)
      for (int64_t n = c; n < c + count; ++n)
        prefetch(planes + n * problem_.source_pixels() + from * width, (to - from) * width);
  }
  void clear(int64_t y, int64_t count) {
    for (int64_t c = 0; c < count; ++c) std::memset(row(c, y), 0, row_.size() * sizeof(T));
  }
  void write(int64_t y, T* planes, int64_t count) {
    const int64_t width = problem_.axis[2].source;
    for (int64_t c = 0; c < count; ++c) row_.join(row(c, y), planes + c * problem_.source_pixels() + y * width);
  }

  // Those taps of target row y that read source rows first … last-1. Column by column, so that two in succession never
  // lie in the same memory: what one sends the next would wait for.
  const Tap* taps(int64_t y, int64_t first, int64_t last, int64_t& count) {
    const Axis &rows = problem_.axis[1], &columns = problem_.axis[2];
    for (int64_t i = 0; i < rows.taps; ++i) {
      const int64_t at = fold(stride_ * y + displacement(problem_, rows, i), rows.source, problem_.border);
      in_reach_.get()[i] = at != outside && at >= first && at < last ? row(0, at) : nullptr;
    }
    count = 0;
    for (int64_t j = 0; j < columns.taps; ++j)
      for (int64_t i = 0; i < rows.taps; ++i)
        if (T* at = in_reach_.get()[i]) taps_.get()[count++] = {at + places_.get()[j], i * columns.taps + j};
    return taps_.get();
  }

 private:
  T* row(int64_t c, int64_t y) { return data_.get() + c * channel_pitch_ + y % rows_ * row_.size(); }

  const Problem& problem_;
  SplitRow<T> row_;
  int64_t stride_, rows_, channel_pitch_;
  Scratch<T> data_;
  Scratch<Tap> taps_;
  Scratch<T*> in_reach_;
  Scratch<int64_t> places_;
};

}  // namespace karaffe::KARAFFE_SET
