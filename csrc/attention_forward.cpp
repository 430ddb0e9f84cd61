// Local attention: scores, softmax over the taps, and the mean of the values, tile by tile.
#include "attention_rows.hpp"
#include "attention_kernels.hpp"

namespace karaffe::KARAFFE_SET {
namespace {

template <class T>
class Forward {
 public:
  Forward(const Attention& attention, const AttentionTensors<T>& tensors)
      : rows(attention, tensors), weights_(rows.tiles.most_blocks * rows.weights_pitch()), stage_(rows.staged(AttentionRows<T>::chunk)) {}
  explicit operator bool() const { return rows && weights_ && stage_; }

  bool run(int64_t begin, int64_t end) {
    const WindowAxis& height = rows.a.axis[1];
    const int64_t image_rows = rows.a.axis[0].source * height.source;
    for (int64_t n = begin; n < end; ++n) {
      const int64_t at = n / image_rows, y = n % height.source, z = n % image_rows / height.source;
      if (at != image_ * rows.a.heads + head_) rows.places.clear();
      image_ = at / rows.a.heads;
      head_ = at % rows.a.heads;
      rows.open_windows(z, y, [&](int64_t qz, int64_t qy) { return rows.hold(image_, head_, qz, qy); });
      rows.walk(z, y, *this);
    }
    return true;
  }

  template <int R>
  void tile(const RowGroup& group, const Tile& tile) {
    const auto query = rows.read_query(image_, head_, group, tile);
    rows.tiles.for_each_block(tile, [&](const Block& block, int64_t number) {
      const T* target[R];
      block_targets<R>(group, block, query, target);
      const Window w = rows.window(tile, block);
      T* weights = weights_.get() + number * rows.weights_pitch();
      score<R>(target, rows.keys.data() + w.column * rows.keys.pitch, w.taps->key, w.taps->count, rows.a.key_channels,
               weights);
      write_log_sum(group, tile, block, softmax<R>(weights, *w.taps, rows.template rest<R>(w)));
    });
    rows.template mix_tile<R>(rows.t.result, image_, head_, rows.a.value_channels, group, tile, weights_.get(),
                              rows.values, [](const Taps& taps) { return taps.value; }, stage_.get());
  }

 private:
  // Scores [tap][R] into weights, in place; the log of their sums before division, in each of a target's lanes.
  template <int R>
  Vec<T> softmax(T* x, const Taps& taps, Vec<T> rest) const {
    const int64_t count = taps.count * R, whole = round_up(count, lanes<T>);
    if (!count) return Vec<T>{};
    const T scale = static_cast<T>(rows.a.scale), *bias = rows.bias(image_, head_);
    if (bias)
      for (int64_t n = 0; n < taps.count; ++n)
        for (int r = 0; r < R; ++r) x[n * R + r] = x[n * R + r] * scale + bias[taps.number[n]];
    const T factor = bias ? T(1) : scale;
    Vec<T> most = splat(-static_cast<T>(__builtin_inf())), total = {};
    for (int64_t n = 0; n < whole; n += lanes<T>) {
      Vec<T> v = load(x + n) * factor;
      if (n + lanes<T> == whole) v += rest;
      most = most > v ? most : v;
      store(x + n, v);
    }
    most = across_lanes<R, T>(most, [](Vec<T> a, Vec<T> b) { return a > b ? a : b; });
    for (int64_t n = 0; n < whole; n += lanes<T>) {
      const Vec<T> raised = exponential<T>(load(x + n) - most);
      total += raised;
      store(x + n, raised);
    }
    total = across_lanes<R, T>(total, [](Vec<T> a, Vec<T> b) { return a + b; });
    const Vec<T> by = 1 / total;
    for (int64_t n = 0; n < whole; n += lanes<T>) store(x + n, load(x + n) * by);
    return most + logarithm<T>(total);
  }

  void write_log_sum(const RowGroup& group, const Tile& tile, const Block& block, Vec<T> log_sum) const {
    T value[lanes<T>];
    store(value, log_sum);
    T* to = rows.t.log_sum + (image_ * rows.a.heads + head_) * rows.a.target_pixels() + tile.column + block.column;
    int r = 0;
    for (int i = 0; i < group.count; ++i)
      for (int64_t j = 0; j < block.columns; ++j) to[group.row[i] * rows.a.axis[2].target + j] = value[r++];
  }

  AttentionRows<T> rows;
  int64_t image_ = -1, head_ = 0;
  Scratch<T> weights_, stage_;
};

}  // namespace

template <class T>
bool attention(const Attention& a, const AttentionTensors<T>& t, int64_t begin, int64_t end) {
  Forward<T> forward(a, t);
  return forward && forward.run(begin, end);
}

template bool attention(const Attention&, const AttentionTensors<float>&, int64_t, int64_t);
template bool attention(const Attention&, const AttentionTensors<double>&, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
