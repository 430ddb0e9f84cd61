// What a kernel is told: sizes, layout, and which source index each tap of each target index reads.
// Plain data; neither torch nor Python, and the same for every instruction set.
#pragma once
#include <cstdint>
#include <vector>

namespace karaffe {

enum class Border { zeros, replicate, reflect };
enum class Alignment { corner, center, align_corners };
enum class Normalizer { none, softmax, sigmoid, sigmoid_norm, sum };

// One spatial axis. Tap i of target y reads source index reads[y * taps + i]; outside is a tap that reads nothing.
struct Axis {
  int64_t source = 1, target = 1, taps = 1, dilation = 1;
  const int64_t* reads = nullptr;
  // The same table by source index: q is read by the pairs (target, tap) number first_reader[q] … first_reader[q+1]-1.
  const int64_t* first_reader = nullptr;
  const int64_t* reader_target = nullptr;
  const int64_t* reader_tap = nullptr;
};
constexpr int64_t outside = -1;

// Tensors: source (batch, groups*channels, source…), kernels (batch, groups*taps, target…), target side (batch,
// groups*channels, target…). All three in one layout: channels last (pixel by pixel) or first (plane by plane).
struct Problem {
  int64_t batch = 0, groups = 1, channels = 0;  // channels: of one group
  Axis axis[3];                                 // depth, height, width; absent ones have size 1
  Border border = Border::zeros;
  Alignment alignment = Alignment::corner;
  Normalizer normalizer = Normalizer::none;  // of reassemble_logits
  bool channels_last = false;
  int factor = 0;  // s where a specialised kernel serves s x s targets a source pixel; 0: the general kernels
  bool strided = false;  // the strided kernels serve, which read planes as they are

  int64_t source_pixels() const { return axis[0].source * axis[1].source * axis[2].source; }
  int64_t target_pixels() const { return axis[0].target * axis[1].target * axis[2].target; }
  int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  int64_t multiply_adds() const { return batch * groups * channels * taps() * target_pixels(); }
};

// Where position p on the integer line falls in 0 … size-1, or `outside`.
int64_t fold(int64_t p, int64_t size, Border border);

// s where a specialised kernel can serve the problem, else 0. In float64, which is for checking, only even factors have
// one.
int specialised_factor(const Problem& problem, bool float64);

// Whether the strided kernels can serve a problem in planes: sources are whole multiples of targets. In float64, which is
// for checking, they serve none.
bool has_strides(const Problem& problem, bool float64);

// The index tables of a problem's axes; they live as long as this object.
class Tables {
 public:
  explicit Tables(Problem& problem);
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

 private:
  struct OfAxis {
    std::vector<int64_t> reads, first_reader, reader_target, reader_tap;
  };
  void fill(Axis& axis, OfAxis& table, Border border, Alignment alignment);
  OfAxis tables_[3];
};

}  // namespace karaffe
