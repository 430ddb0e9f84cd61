// The two memory layouts as kernels with pixels in the lanes read and write them: plane by plane as they are, pixel by
// pixel through a transposition in registers.
#pragma once
#include "rows.hpp"

namespace karaffe::KARAFFE_SET {

// The last vector of a row is moved back to be full. A row shorter than a vector has one, partly used.
template <class T>
KARAFFE_INLINE int64_t vectors(int64_t width) { return (width + lanes<T> - 1) / lanes<T>; }
template <class T>
KARAFFE_INLINE int64_t first_pixel(int64_t vector, int64_t width) {
  return width < lanes<T> ? 0 : lesser(vector * lanes<T>, width - lanes<T>);
}

// S * width target values at p as phases; a row shorter than a vector is read through a copy.
template <int S, class T>
KARAFFE_INLINE void load_targets(const T* p, int64_t width, Vec<T> (&phase)[S]) {
  if (width >= lanes<T>) return split_phases<S>(p, phase);
  T copy[S * lanes<T>] = {};
  std::memcpy(copy, p, S * width * sizeof(T));
  split_phases<S>(copy, phase);
}
template <int S, class T>
KARAFFE_INLINE void store_targets(T* p, int64_t width, const Vec<T> (&phase)[S]) {
  if (width >= lanes<T>) return join_phases<S>(p, phase);
  T copy[S * lanes<T>];
  join_phases<S>(copy, phase);
  std::memcpy(p, copy, S * width * sizeof(T));
}

// to[channel * to_pitch + lane] = from[lane * from_pitch + channel] for up to a vector of channels and of pixels.
template <class T>
KARAFFE_INLINE void pixels_to_planes(const T* from, int64_t from_pitch, int64_t pixels, T* to, int64_t to_pitch,
                                     int64_t channels) {
  constexpr int n = lanes<T>;
  Vec<T> v[n];
#pragma GCC unroll 16
  for (int l = 0; l < n; ++l)
    if (l >= pixels) v[l] = Vec<T>{};
    else if (channels >= n) v[l] = load(from + l * from_pitch);
    else v[l] = load_first(from + l * from_pitch, static_cast<int>(channels));
  transpose<T>(v);
#pragma GCC unroll 16
  for (int c = 0; c < n; ++c)
    if (c >= channels) continue;
    else if (pixels >= n) store(to + c * to_pitch, v[c]);
    else store_first(to + c * to_pitch, static_cast<int>(pixels), v[c]);
}
// to[lane * to_pitch + channel] = from[channel * from_pitch + lane], likewise.
template <class T>
KARAFFE_INLINE void planes_to_pixels(const T* from, int64_t from_pitch, int64_t channels, T* to, int64_t to_pitch,
                                     int64_t pixels) {
  constexpr int n = lanes<T>;
  Vec<T> v[n];
#pragma GCC unroll 16
  for (int c = 0; c < n; ++c)
    if (c >= channels) v[c] = Vec<T>{};
    else if (pixels >= n) v[c] = load(from + c * from_pitch);
    else v[c] = load_first(from + c * from_pitch, static_cast<int>(pixels));
  transpose<T>(v);
#pragma GCC unroll 16
  for (int l = 0; l < n; ++l)
    if (l >= pixels) continue;
    else if (channels >= n) store(to + l * to_pitch, v[l]);
    else store_first(to + l * to_pitch, static_cast<int>(channels), v[l]);
}

}  // namespace karaffe::KARAFFE_SET
