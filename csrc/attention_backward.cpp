// The gradients of local attention. The weights are computed again from the known log-sums; what targets send to the
// keys and values they read is summed in rings, row after row, so that nothing of the windows' size is ever in memory.
//
// A call owns some source rows. It walks all rows of centres that read them, also those that belong to its
// neighbours, and keeps what is its own: every row's sum has the same terms in the same order however rows are shared.
#include "attention_kernels.hpp"
#include "attention_rows.hpp"

namespace karaffe::KARAFFE_SET {
namespace {

template <class T>
class Backward {
 public:
  Backward(const Attention& attention, const AttentionTensors<T>& tensors)
      : rows(attention, tensors), a(attention), t(tensors),
        by_keys_(rows.places, a.axis[2].source, a.key_channels),
        by_values_(rows.places, a.axis[2].source, a.value_channels),
        weights_(rows.tiles.most_blocks * rows.weights_pitch()),
        moved_(rows.tiles.most_blocks * rows.weights_pitch()), grad_(rows.staged(a.value_channels)),
        stage_(rows.staged(AttentionRows<T>::chunk)) {}
  explicit operator bool() const { return rows && by_keys_ && by_values_ && weights_ && moved_ && grad_ && stage_; }

  bool run(int64_t begin, int64_t end) {
    const int64_t size = a.axis[a.split_axis()].source;
    while (begin < end) {
      const int64_t first = begin % size, last = lesser(size, first + end - begin), at = begin / size;
      image_ = at / a.heads;
      head_ = at % a.heads;
      share(first, last);
      begin += last - first;
    }
    return true;
  }

  template <int R>
  void tile(const RowGroup& group, const Tile& tile) {
    const auto query = rows.read_query(image_, head_, group, tile);
    const auto grad = rows.read_targets(t.grad, image_, head_, a.value_channels, group, tile, grad_.get());
    rows.tiles.for_each_block(tile, [&](const Block& block, int64_t number) {
      const T *targets[R], *grads[R];
      const int count = block_targets<R>(group, block, query, targets);
      block_targets<R>(group, block, grad, grads);
      const Window w = rows.window(tile, block);
      T *weights = weights_.get() + number * rows.weights_pitch(), *moved = moved_.get() + number * rows.weights_pitch();
      score<R>(targets, rows.keys.data() + w.column * rows.keys.pitch, w.taps->key, w.taps->count, a.key_channels,
               weights);
      score<R>(grads, rows.values.data() + w.column * rows.values.pitch, w.taps->value, w.taps->count,
               a.value_channels, moved);
      through_softmax<R>(weights, moved, *w.taps, read_log_sum<R>(group, tile, block), rows.template rest<R>(w),
                         count);
    });
    const auto keys = [](const Taps& taps) { return taps.key; };
    const auto values = [](const Taps& taps) { return taps.value; };
    if (owned_)
      rows.template mix_tile<R>(t.by_query, image_, head_, a.key_channels, group, tile, moved_.get(),
                                rows.keys, keys, stage_.get());
    spread_tile<R>(group, tile, query, a.key_channels, moved_.get(), by_keys_, keys);
    spread_tile<R>(group, tile, grad, a.value_channels, weights_.get(), by_values_, values);
  }

 private:
  // The gradients of source rows first … last-1 along the split axis, and of the targets whose centres these are.
  void share(int64_t first, int64_t last) {
    const WindowAxis &split = a.axis[a.split_axis()], &height = a.axis[1];
    const bool volume = a.split_axis() == 0;
    first_ = first;
    last_ = last;
    rows.places.clear();
    int64_t from = first, to = last - 1;
    for (int64_t q = first; q < last; ++q) {
      from = lesser(from, split.first_reader[q]);
      to = greater(to, split.last_reader[q]);
    }
    for (int64_t c = from; c <= to; ++c) {
      owned_ = c >= first && c < last;
      if (volume)
        for (int64_t y = 0; y < height.source; ++y) centre_row(c, y);
      else centre_row(0, c);
    }
    for (int64_t place = 0; place < rows.places.count(); ++place) flush(place);
  }

  void centre_row(int64_t z, int64_t y) {
    if (t.by_bias && owned_) {
      const int64_t image_rows = a.axis[0].source * a.axis[1].source;
      by_bias_ = t.by_bias + ((image_ * a.heads + head_) * image_rows + rows.places.row(z, y)) * a.window();
      std::memset(by_bias_, 0, a.window() * sizeof(T));
    }
    hold(z, y);  // so that a row which no tap reads is written too
    rows.open_windows(z, y, [&](int64_t qz, int64_t qy) { return hold(qz, qy); });
    rows.walk(z, y, *this);
  }

  int64_t hold(int64_t z, int64_t y) {
    const int64_t place = rows.places.place(z, y);
    if (rows.places.held(place) == rows.places.row(z, y)) return place;
    flush(place);
    by_keys_.clear(place);
    by_values_.clear(place);
    return rows.hold(image_, head_, z, y);
  }

  bool is_owned(int64_t row) const {
    const int64_t at = a.split_axis() == 0 ? row / a.axis[1].source : row;
    return at >= first_ && at < last_;
  }

  // Writes the sums of the row in a place, which are complete.
  void flush(int64_t place) {
    const int64_t row = rows.places.held(place);
    if (row >= 0 && is_owned(row)) write_row(row, by_keys_.row(place), by_values_.row(place));
  }
  void write_row(int64_t row, const T* by_key, const T* by_value) {
    const int64_t width = a.axis[2].source;
    write_pixels(t.by_key, image_, head_ * a.key_channels, a.key_channels, row * width, width, by_key, by_keys_.pitch);
    write_pixels(t.by_value, image_, head_ * a.value_channels, a.value_channels, row * width, width, by_value,
                 by_values_.pitch);
  }

  // P = exp(S - log-sum) into weights, and the scores' gradients P (dP - sum of P dP) into moved; both [tap][R].
  template <int R>
  void through_softmax(T* weights, T* moved, const Taps& taps, Vec<T> log_sum, Vec<T> rest, int count) {
    const int64_t used = taps.count * R, whole = round_up(used, lanes<T>);
    const T scale = static_cast<T>(a.scale), *bias = rows.bias(image_, head_);
    if (!used) return;
    for (int64_t n = 0; bias && n < taps.count; ++n)
      for (int r = 0; r < R; ++r) weights[n * R + r] = weights[n * R + r] * scale + bias[taps.number[n]];
    const T factor = bias ? T(1) : scale;
    Vec<T> total = {};
    for (int64_t n = 0; n < whole; n += lanes<T>) {
      Vec<T> score = load(weights + n) * factor - log_sum;
      if (n + lanes<T> == whole) score += rest;
      const Vec<T> weight = exponential<T>(score);
      total += weight * load(moved + n);
      store(weights + n, weight);
    }
    const Vec<T> mean = across_lanes<R, T>(total, [](Vec<T> x, Vec<T> y) { return x + y; });
    for (int64_t n = 0; n < whole; n += lanes<T>) store(moved + n, load(weights + n) * (load(moved + n) - mean));
    if (t.by_bias && owned_)
      for (int64_t n = 0; n < taps.count; ++n)
        for (int r = 0; r < count; ++r) by_bias_[taps.number[n]] += moved[n * R + r];
    for (int64_t n = 0; n < whole; n += lanes<T>) store(moved + n, load(moved + n) * scale);
  }

  // Lane l: of target l modulo R.
  template <int R>
  Vec<T> read_log_sum(const RowGroup& group, const Tile& tile, const Block& block) const {
    const T* from =
        t.known_log_sum + (image_ * a.heads + head_) * a.target_pixels() + tile.column + block.column;
    T value[lanes<T>] = {};
    int r = 0;
    for (int i = 0; i < group.count; ++i)
      for (int64_t j = 0; j < block.columns; ++j) value[r++] = from[group.row[i] * a.axis[2].target + j];
    for (int l = R; l < lanes<T>; ++l) value[l] = value[l - R];
    return load(value);
  }

  // pixel of the ring [tap] += sum over the targets of weight * target.
  template <int R, class Offsets>
  void spread_tile(const RowGroup& group, const Tile& tile, const TargetRows<const T>& targets, int64_t channels,
                   const T* weights, const PixelRows<T>& ring, Offsets offsets) const {
    constexpr int64_t chunk = AttentionRows<T>::chunk;
    for (int64_t first = 0; first < channels; first += chunk)
      rows.tiles.for_each_block(tile, [&](const Block& block, int64_t number) {
        const Window w = rows.window(tile, block);
        const T* weight = weights + number * rows.weights_pitch();
        T* pixels = ring.data() + w.column * ring.pitch;
        in_blocks<sums_at_once<T> / R, T>(first, lesser(channels, first + chunk), [&]<int CV>(int64_t c) {
          Vec<T> from[R][CV] = {};
          int r = 0;
          for (int i = 0; i < group.count; ++i)
            for (int64_t j = 0; j < block.columns; ++j)
              load_channels<CV>(targets.row[i] + (block.column + j) * targets.pitch + c, channels - c, from[r++]);
          spread<R, CV>(weight, from, pixels + c, offsets(*w.taps), w.taps->count);
        });
      });
  }

  AttentionRows<T> rows;
  const Attention& a;
  const AttentionTensors<T>& t;
  PixelRows<T> by_keys_, by_values_;
  Scratch<T> weights_, moved_, grad_, stage_;
  int64_t image_ = 0, head_ = 0, first_ = 0, last_ = 0;
  bool owned_ = false;
  T* by_bias_ = nullptr;
};

}  // namespace

template <class T>
bool attention_backward(const Attention& a, const AttentionTensors<T>& t, int64_t begin, int64_t end) {
  Backward<T> backward(a, t);
  return backward && backward.run(begin, end);
}

template bool attention_backward(const Attention&, const AttentionTensors<float>&, int64_t, int64_t);
template bool attention_backward(const Attention&, const AttentionTensors<double>&, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
