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

// to[column * to_pitch + row] = from[row * from_pitch + column] for up to a vector of rows and of columns.
template <class T>
KARAFFE_INLINE void transpose_block(const T* from, int64_t from_pitch, int64_t rows, T* to, int64_t to_pitch,
                                    int64_t columns) {
  constexpr int n = lanes<T>;
  Vec<T> v[n];
#pragma GCC unroll 16
  for (int r = 0; r < n; ++r)
    if (r >= rows) v[r] = Vec<T>{};
    else if (columns >= n) v[r] = load(from + r * from_pitch);
    else v[r] = load_first(from + r * from_pitch, static_cast<int>(columns));
  transpose<T>(v);
#pragma GCC unroll 16
  for (int c = 0; c < n; ++c)
    if (c >= columns) continue;
    else if (rows >= n) store(to + c * to_pitch, v[c]);
    else store_first(to + c * to_pitch, static_cast<int>(rows), v[c]);
}

// The same for any number of rows and columns, each of which may be pixels or channels.
template <class T>
__attribute__((noinline)) static void transpose(const T* from, int64_t from_pitch, int64_t rows, T* to,
                                                int64_t to_pitch, int64_t columns) {
  constexpr int n = lanes<T>;
  for (int64_t i = 0; i < vectors<T>(rows); ++i)
    for (int64_t j = 0; j < vectors<T>(columns); ++j) {
      const int64_t r = first_pixel<T>(i, rows), c = first_pixel<T>(j, columns);
      const T* block = from + r * from_pitch + c;
      if (rows >= n && columns >= n) transpose_block(block, from_pitch, n, to + c * to_pitch + r, to_pitch, n);
      else transpose_block(block, from_pitch, rows - r, to + c * to_pitch + r, to_pitch, columns - c);
    }
}

}  // namespace karaffe::KARAFFE_SET
