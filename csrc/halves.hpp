// bfloat16 and float16 are computed in float32, some rows at a time, so that the wider copies never leave the caches.
#pragma once
#include "rows.hpp"

namespace karaffe::KARAFFE_SET {

// Branch-free on the bits, for the compiler to vectorise; both round to nearest, ties to even.
KARAFFE_INLINE float as_float(uint32_t bits) { float x; std::memcpy(&x, &bits, sizeof x); return x; }
KARAFFE_INLINE uint32_t as_bits(float x) { uint32_t bits; std::memcpy(&bits, &x, sizeof bits); return bits; }

KARAFFE_INLINE float from_bfloat16(uint16_t x) { return as_float(static_cast<uint32_t>(x) << 16); }
KARAFFE_INLINE uint16_t to_bfloat16(float x) {
  const uint32_t bits = as_bits(x), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}
// float16 has five bits of exponent about 15, float32 eight about 127.
KARAFFE_INLINE float from_float16(uint16_t x) {
  const uint32_t magnitude = (x & 0x7fffu) << 13, sign = (x & 0x8000u) << 16;
  const float finite = as_float(magnitude) * as_float((254u - 15) << 23);  // 2^(127 - 15): also of subnormals
  return as_float((magnitude >= 0x1fu << 23 ? magnitude | 0xffu << 23 : as_bits(finite)) | sign);
}
KARAFFE_INLINE uint16_t to_float16(float x) {
  const uint32_t bits = as_bits(x), magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  const uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - as_bits(0.5f);  // the sum's last bit is 2^-24
  uint32_t half = magnitude < 113u << 23 ? subnormal : normal;
  half = magnitude >= 143u << 23 ? 0x7c00 : half;
  half = half > 0x7c00 ? 0x7c00 : half;
  half = magnitude > 0x7f800000 ? 0x7e00 : half;
  return static_cast<uint16_t>(half | sign);
}

template <bool Brain>
static void widen(const uint16_t* from, float* to, int64_t count) {
  for (int64_t n = 0; n < count; ++n) to[n] = Brain ? from_bfloat16(from[n]) : from_float16(from[n]);
}
template <bool Brain>
static void narrow(const float* from, uint16_t* to, int64_t count) {
  for (int64_t n = 0; n < count; ++n) to[n] = Brain ? to_bfloat16(from[n]) : to_float16(from[n]);
}

// Calls visit(where in the whole tensor, where in the part, count) for every run of memory of source rows first … last-1
// of an image and group; the part holds rows from `begin` on, `height` of them, and this group's channels alone.
template <class Visit>
KARAFFE_INLINE void for_each_run(const Problem& p, const HalfSide& side, const ImageRows& at, int64_t begin,
                                 int64_t height, int64_t first, int64_t last, Visit visit) {
  const int64_t row = side.factor * side.factor * p.axis[2].source;
  const int64_t start = at.first_value(p, side.channels, row * p.axis[1].source);
  if (!p.channels_last)
    for (int64_t c = 0; c < side.channels; ++c)
      visit(start + (c * p.axis[1].source + first) * row, (c * height + first - begin) * row, (last - first) * row);
  else if (p.groups == 1)
    visit(start + first * row * side.channels, (first - begin) * row * side.channels,
          (last - first) * row * side.channels);
  else
    for (int64_t x = first * row; x < last * row; ++x)
      visit(start + x * p.groups * side.channels, (x - begin * row) * side.channels, side.channels);
}

template <bool Brain>
static bool run_halves(const Problem& p, const HalfCall& call, int64_t begin, int64_t end) {
  // At an edge of a part that is not one of the image, what is reflected must not come back as far as its rows.
  const int64_t radius = p.axis[2].taps / 2 * (p.border == Border::reflect ? 2 : 1), height = p.axis[1].source;
  int64_t widest = 0;
  for (const HalfSide& side : call.side) widest = greater(widest, side.channels * side.factor * side.factor);
  const int64_t rows = lesser(height, greater(radius, (1 << 18) / (widest * p.axis[2].source)));
  const int64_t most = lesser(height, rows + 2 * radius);
  const auto size = [&](const HalfSide& side) {
    return most * side.channels * side.factor * side.factor * p.axis[2].source;
  };
  Scratch<float> wide[] = {Scratch<float>(size(call.side[0])), Scratch<float>(size(call.side[1])),
                           Scratch<float>(size(call.side[2])), Scratch<float>(size(call.side[3]))};
  for (const Scratch<float>& part : wide)
    if (!part) return false;
  bool complete = true;
  for_each_image(p, begin, end, [&](const ImageRows& at) {
    for (int64_t y = at.first; y < at.last && complete; y += rows) {
      const int64_t stop = lesser(y + rows, at.last), first = greater(0, y - radius),
                    last = lesser(height, stop + radius);
      for (int n = 0; n < 3; ++n)
        for_each_run(p, call.side[n], at, first, last - first, call.side[n].halo ? first : y,
                     call.side[n].halo ? last : stop, [&](int64_t from, int64_t to, int64_t count) {
                       widen<Brain>(call.side[n].data + from, wide[n].get() + to, count);
                     });
      Problem part = p;
      part.batch = part.groups = 1;
      part.axis[1].source = last - first;
      part.axis[1].target = p.factor * (last - first);
      complete = call.three ? call.three(part, wide[0].get(), wide[1].get(), wide[2].get(), wide[3].get(), y - first,
                                         stop - first)
                            : call.two(part, wide[0].get(), wide[1].get(), wide[3].get(), y - first, stop - first);
      for_each_run(p, call.side[3], at, first, last - first, y, stop, [&](int64_t to, int64_t from, int64_t count) {
        narrow<Brain>(wide[3].get() + from, call.side[3].data + to, count);
      });
    }
  });
  return complete;
}

}  // namespace karaffe::KARAFFE_SET
