// Any target size, kernel size, dilation and border, in one to three dimensions: the tables say who reads whom.
// Channels last, channels in the lanes.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace karaffe::KARAFFE_SET {

// result[c] = sum over n of weight[n] * base[offset[n] + c]
template <class T, int Block>
KARAFFE_INLINE void weighted_block(const T* base, const int64_t* offset, const T* weight, int64_t count, T* result) {
  Vec<T> acc[Block] = {};
  for (int64_t n = 0; n < count; ++n) {
    const Vec<T> w = splat(weight[n]);
    for (int b = 0; b < Block; ++b) acc[b] += w * load(base + offset[n] + b * lanes<T>);
  }
  for (int b = 0; b < Block; ++b) store(result + b * lanes<T>, acc[b]);
}

template <class T>
static void weighted_sum(const T* base, const int64_t* offset, const T* weight, int64_t count, T* result,
                         int64_t channels) {
  int64_t c = 0;
  for (; c + 4 * lanes<T> <= channels; c += 4 * lanes<T>)
    weighted_block<T, 4>(base + c, offset, weight, count, result + c);
  for (; c + lanes<T> <= channels; c += lanes<T>) weighted_block<T, 1>(base + c, offset, weight, count, result + c);
  if (c == channels) return;
  const int left = static_cast<int>(channels - c);
  Vec<T> acc = {};
  for (int64_t n = 0; n < count; ++n) acc += splat(weight[n]) * load_first(base + offset[n] + c, left);
  store_first(result + c, left, acc);
}

template <class T>
static T dot(const T* a, const T* b, int64_t channels) {
  Vec<T> acc[2] = {};
  int64_t c = 0;
  for (; c + 2 * lanes<T> <= channels; c += 2 * lanes<T>)
    for (int h = 0; h < 2; ++h) acc[h] += load(a + c + h * lanes<T>) * load(b + c + h * lanes<T>);
  for (; c + lanes<T> <= channels; c += lanes<T>) acc[0] += load(a + c) * load(b + c);
  if (c < channels) {
    const int left = static_cast<int>(channels - c);
    acc[1] += load_first(a + c, left) * load_first(b + c, left);
  }
  return sum_of_lanes<T>(acc[0] + acc[1]);
}

// A row of target pixels as the general kernels walk it.
struct TargetRow {
  int64_t image, z, y;
  TargetRow(const Problem& p, int64_t row)
      : image(row / (p.axis[0].target * p.axis[1].target)),
        z(row / p.axis[1].target % p.axis[0].target),
        y(row % p.axis[1].target) {}
};

// Calls visit(tap, source pixel of the image or `outside`) for every tap of target pixel (z, y, x).
template <class Visit>
KARAFFE_INLINE void for_each_tap(const Problem& p, int64_t z, int64_t y, int64_t x, Visit visit) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  int64_t tap = 0;
  for (int64_t h = 0; h < depth.taps; ++h)
    for (int64_t i = 0; i < height.taps; ++i)
      for (int64_t j = 0; j < width.taps; ++j, ++tap) {
        const int64_t qz = depth.reads[z * depth.taps + h], qy = height.reads[y * height.taps + i],
                      qx = width.reads[x * width.taps + j];
        const bool absent = qz == outside || qy == outside || qx == outside;
        visit(tap, absent ? outside : (qz * height.source + qy) * width.source + qx);
      }
}

template <class T>
static bool reassemble_general(const Problem& p, const T* source, const T* kernels, T* result, int64_t begin,
                               int64_t end) {
  const int64_t width = p.axis[2].target, taps = p.taps(), pitch = p.groups * p.channels;
  Scratch<int64_t> offsets(taps);
  Scratch<T> weights(taps);
  if (!offsets || !weights) return false;
  for (int64_t row = begin; row < end; ++row) {
    const TargetRow at(p, row);
    const T* image = source + at.image * p.source_pixels() * pitch;
    for (int64_t x = 0; x < width; ++x)
      for (int64_t g = 0; g < p.groups; ++g) {
        const T* kernel = kernels + ((row * width + x) * p.groups + g) * taps;
        int64_t count = 0;
        for_each_tap(p, at.z, at.y, x, [&](int64_t tap, int64_t pixel) {
          if (pixel == outside) return;
          offsets.get()[count] = pixel * pitch;
          weights.get()[count++] = kernel[tap];
        });
        weighted_sum(image + g * p.channels, offsets.get(), weights.get(), count,
                     result + (row * width + x) * pitch + g * p.channels, p.channels);
      }
  }
  return true;
}

template <class T>
static bool correlate_general(const Problem& p, const T* source, const T* query, T* result, int64_t begin,
                              int64_t end) {
  const int64_t width = p.axis[2].target, taps = p.taps(), pitch = p.groups * p.channels;
  for (int64_t row = begin; row < end; ++row) {
    const TargetRow at(p, row);
    const T* image = source + at.image * p.source_pixels() * pitch;
    for (int64_t x = 0; x < width; ++x)
      for (int64_t g = 0; g < p.groups; ++g) {
        const T* q = query + (row * width + x) * pitch + g * p.channels;
        T* to = result + ((row * width + x) * p.groups + g) * taps;
        for_each_tap(p, at.z, at.y, x, [&](int64_t tap, int64_t pixel) {
          to[tap] = pixel == outside ? T(0) : dot(q, image + pixel * pitch + g * p.channels, p.channels);
        });
      }
  }
  return true;
}

// The most pairs (target, tap) that read one source index of an axis.
KARAFFE_INLINE int64_t most_readers(const Axis& axis) {
  int64_t most = 0;
  for (int64_t q = 0; q < axis.source; ++q)
    most = greater(most, axis.first_reader[q + 1] - axis.first_reader[q]);
  return most;
}

// Calls visit(tap, target pixel of the image) for every tap that reads source pixel (z, y, x).
template <class Visit>
KARAFFE_INLINE void for_each_reader(const Problem& p, int64_t z, int64_t y, int64_t x, Visit visit) {
  const Axis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
  for (int64_t h = depth.first_reader[z]; h < depth.first_reader[z + 1]; ++h)
    for (int64_t i = height.first_reader[y]; i < height.first_reader[y + 1]; ++i)
      for (int64_t j = width.first_reader[x]; j < width.first_reader[x + 1]; ++j)
        visit((depth.reader_tap[h] * height.taps + height.reader_tap[i]) * width.taps + width.reader_tap[j],
              (depth.reader_target[h] * height.target + height.reader_target[i]) * width.target +
                  width.reader_target[j]);
}

template <class T>
static bool scatter_general(const Problem& p, const T* kernels, const T* query, T* result, int64_t begin,
                            int64_t end) {
  const int64_t width = p.axis[2].source, taps = p.taps(), pitch = p.groups * p.channels;
  const int64_t most = most_readers(p.axis[0]) * most_readers(p.axis[1]) * most_readers(p.axis[2]);
  Scratch<int64_t> offsets(most);
  Scratch<T> weights(most);
  if (!offsets || !weights) return false;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t y = row % p.axis[1].source, z = row / p.axis[1].source % p.axis[0].source;
    const int64_t first_target = row / (p.axis[0].source * p.axis[1].source) * p.target_pixels();
    for (int64_t x = 0; x < width; ++x)
      for (int64_t g = 0; g < p.groups; ++g) {
        int64_t count = 0;
        for_each_reader(p, z, y, x, [&](int64_t tap, int64_t pixel) {
          offsets.get()[count] = pixel * pitch;
          weights.get()[count++] = kernels[((first_target + pixel) * p.groups + g) * taps + tap];
        });
        weighted_sum(query + first_target * pitch + g * p.channels, offsets.get(), weights.get(), count,
                     result + (row * width + x) * pitch + g * p.channels, p.channels);
      }
  }
  return true;
}

}  // namespace karaffe::KARAFFE_SET
