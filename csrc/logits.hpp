// Reassembly kernels from a content encoder's logits, some pixels of a source row at a time, so that they are never in
// memory whole. Logits are (batch, groups * taps * s², height, width); channel (tap * s² + phase) of a group.
#pragma once
#include "exponential.hpp"
#include "layouts.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct LogitRows {
  static constexpr int taps = K * K, F = S * S, channels = taps * F;
  static constexpr int64_t vector_kernels = channels * lanes<T>;

  const Problem& p;
  int64_t width = p.axis[2].source, height = p.axis[1].source;
  int64_t image_vectors = vectors<T>(width), pixels_in_vector = lesser(width, lanes<T>);

  // The logits of an image and group.
  const T* of(const T* logits, const ImageRows& at) const {
    return logits + at.first_value(p, channels, width * height);
  }

  // Where tap t of phase f lies among the kernels of one vector of pixels, phases in passes of P.
  template <int P>
  static constexpr int64_t slot(int t, int f) {
    return static_cast<int64_t>((f / P * taps + t) * P + f % P) * lanes<T>;
  }

  // Vectors v0 … v1-1 of row y as they are, to[vector][slot]. Planes, which lie far apart, are read in long runs.
  template <int P>
  void read(const T* logits, int64_t y, int64_t v0, int64_t v1, T* to) const {
    if (p.channels_last) {
      static_assert(P == F || S > 2, "the channels of a pixel lie in the order of the slots");
      const int64_t pitch = p.groups * channels;
      for (int64_t v = v0; v < v1; ++v, to += vector_kernels)
        transpose(logits + (y * width + first_pixel<T>(v, width)) * pitch, pitch, pixels_in_vector, to, lanes<T>,
                  channels);
      return;
    }
    for (int n = 0; n < channels; ++n) {
      const T* row = logits + (n * height + y) * width;
      if (y + 1 < height) prefetch(row + width + v0 * lanes<T>, (v1 - v0) * lanes<T>);
      for (int64_t v = v0; v < v1; ++v) {
        Vec<T> x[1];
        load_targets<1>(row + first_pixel<T>(v, width), width, x);
        store(to + (v - v0) * vector_kernels + slot<P>(n / F, n % F), x[0]);
      }
    }
  }

  // The inverse of `read` for P = F.
  void write(const T* from, int64_t y, int64_t v0, int64_t v1, T* logits) const {
    if (p.channels_last) {
      const int64_t pitch = p.groups * channels;
      for (int64_t v = v0; v < v1; ++v, from += vector_kernels)
        transpose(from, lanes<T>, channels, logits + (y * width + first_pixel<T>(v, width)) * pitch, pitch,
                  pixels_in_vector);
      return;
    }
    for (int n = 0; n < channels; ++n)
      for (int64_t v = v0; v < v1; ++v) {
        const Vec<T> x[1] = {load(from + (v - v0) * vector_kernels + n * lanes<T>)};
        store_targets<1>(logits + (n * height + y) * width + first_pixel<T>(v, width), width, x);
      }
  }

  // The kernels of phase f of a vector of pixels, in place; gives one over what they were divided by.
  template <int P>
  Vec<T> normalize(T* at, int f) const {
    if (p.normalizer == Normalizer::none) return splat(T(1));
    Vec<T> most = load(at + slot<P>(0, f)), total = {};
    for (int t = 1; t < taps; ++t) {
      const Vec<T> x = load(at + slot<P>(t, f));
      most = most > x ? most : x;
    }
    for (int t = 0; t < taps; ++t) {
      Vec<T> x = load(at + slot<P>(t, f));
      if (p.normalizer == Normalizer::softmax) x = exponential<T>(x - most);
      else if (p.normalizer != Normalizer::sum) x = T(1) / (T(1) + exponential<T>(-x));
      store(at + slot<P>(t, f), x);
      total += x;
    }
    if (p.normalizer == Normalizer::sigmoid) return splat(T(1));
    const Vec<T> scale = T(1) / total;
    for (int t = 0; t < taps; ++t) store(at + slot<P>(t, f), load(at + slot<P>(t, f)) * scale);
    return scale;
  }

  // The gradient by the logits of phase f of a vector, in place of the gradient by its kernels; `at` holds the logits
  // and then the kernels w. With w = u / total, u a function of one logit: (grad - sum(w grad)) u' / total.
  void pull_back(T* at, T* grad, int f) const {
    if (p.normalizer == Normalizer::none) return;
    const Vec<T> scale = normalize<F>(at, f);
    Vec<T> mean = {};
    if (p.normalizer != Normalizer::sigmoid)
      for (int t = 0; t < taps; ++t) mean += load(at + slot<F>(t, f)) * load(grad + slot<F>(t, f));
    for (int t = 0; t < taps; ++t) {
      const Vec<T> w = load(at + slot<F>(t, f));
      Vec<T> slope = w;  // u' / total: of softmax, w itself; of the sigmoid, u (1 - u) / total
      if (p.normalizer == Normalizer::sum) slope = scale;
      else if (p.normalizer != Normalizer::softmax) slope = w * (T(1) - w / scale);
      store(grad + slot<F>(t, f), (load(grad + slot<F>(t, f)) - mean) * slope);
    }
  }

  // The kernels of vectors v0 … v1-1 of row y, to[vector][slot].
  template <int P>
  void kernels(const T* logits, int64_t y, int64_t v0, int64_t v1, T* to) const {
    read<P>(logits, y, v0, v1, to);
    for (int64_t v = v0; v < v1; ++v, to += vector_kernels)
      for (int f = 0; f < F; ++f) normalize<P>(to, f);
  }
};

}  // namespace karaffe::KARAFFE_SET
