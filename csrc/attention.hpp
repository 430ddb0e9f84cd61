// What the kernels of local attention are told: sizes, tensors, and which source pixels each window reads.
// Plain data; neither torch nor Python, and the same for every instruction set.
#pragma once
#include <cstdint>
#include <vector>

#include "problem.hpp"

namespace karaffe {

// What taps outside the map are: see karaffe.ops.local_attention.
enum class Outside { zeros, mask, shift, replicate, reflect };

// One spatial axis. All targets with the same source index under them, the centre, have one window.
struct WindowAxis {
  int64_t source = 1, target = 1, taps = 1, dilation = 1;
  const int64_t* reads = nullptr;         // [centre][tap]: a source index, or `outside`
  const int64_t* first_target = nullptr;  // centre c has targets first_target[c] … first_target[c+1]-1
  const int64_t* first_reader = nullptr;  // source index q is read by no centre before first_reader[q] …
  const int64_t* last_reader = nullptr;   // … and by none after last_reader[q]
  int64_t span = 1;                       // q and q + span or more are never both between first and last reader
};

struct Attention {
  int64_t batch = 0, heads = 1, key_channels = 0, value_channels = 0;  // channels: of one head
  double scale = 1;
  WindowAxis axis[3];             // depth, height, width; absent ones have size 1
  const int64_t* taps = nullptr;  // the row-major numbers of the taps that take part
  int64_t tap_count = 0;
  bool masked = false;  // taps outside have no part in the softmax
  Problem planes;       // the same as the kernel on planes is told of the values; without a factor where it cannot serve

  int64_t window() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  int64_t source_pixels() const { return axis[0].source * axis[1].source * axis[2].source; }
  int64_t target_pixels() const { return axis[0].target * axis[1].target * axis[2].target; }
  // The axis along which backward is shared out: the outermost one there is.
  int split_axis() const { return axis[0].source > 1 ? 0 : 1; }
  int64_t forward_rows() const { return batch * heads * axis[0].source * axis[1].source; }
  int64_t backward_rows() const { return batch * heads * axis[split_axis()].source; }
};

// A tensor (batch, channels, pixels…), pixel by pixel or plane by plane.
template <class T>
struct Map {
  T* data = nullptr;
  bool channels_last = false;
  int64_t channels = 0, pixels = 0;
};

template <class T>
struct AttentionTensors {
  Map<const T> query, key, value;
  const T* bias = nullptr;  // (batch, heads * window), or null
  // forward
  Map<T> result;
  T* log_sum = nullptr;  // (batch, heads, targets…)
  // backward
  Map<const T> grad;
  const T* known_log_sum = nullptr;
  Map<T> by_query, by_key, by_value;
  T* by_bias = nullptr;  // (batch * heads, source rows, window): to be summed over the rows; null without bias
};

// Computes rows begin … end-1 of forward_rows() or backward_rows(); false where memory ran out. What a row holds does
// not depend on how rows are shared out, so neither do the bits.
template <class T>
using AttentionKernel = bool (*)(const Attention&, const AttentionTensors<T>&, int64_t begin, int64_t end);

template <class T>
struct AttentionKernels {
  AttentionKernel<T> forward, backward;
  AttentionKernel<T> planes;  // forward, where `Attention::planes` has a factor and all tensors are planes; may be null
};

// The kernels of one instruction set; `attention_kernels` gives those in use.
struct AttentionSet {
  AttentionKernels<float> single;
  AttentionKernels<double> dbl;
};
template <class T>
const AttentionKernels<T>& attention_kernels();
template <>
const AttentionKernels<float>& attention_kernels<float>();
template <>
const AttentionKernels<double>& attention_kernels<double>();

// The tables of an attention's axes; they live as long as this object.
class Windows {
 public:
  Windows(Attention& attention, Outside mode, Alignment alignment);
  Windows(const Windows&) = delete;
  Windows& operator=(const Windows&) = delete;

 private:
  struct OfAxis {
    std::vector<int64_t> reads, first_target, first_reader, last_reader;
  };
  static void fill(WindowAxis& axis, OfAxis& table, Outside mode, Alignment alignment);
  OfAxis tables_[3];
};

}  // namespace karaffe
