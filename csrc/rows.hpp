// How the specialised kernels walk the rows of work they are given.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace karaffe::KARAFFE_SET {

// A run of source rows of one image and group.
struct ImageRows {
  int64_t image, group, first, last;
  // Where this image and group begin in a tensor of `channels` a group and `pixels` an image.
  int64_t first_value(const Problem& p, int64_t channels, int64_t pixels) const {
    return (image * p.groups * pixels + group * (p.channels_last ? 1 : pixels)) * channels;
  }
};

// Calls visit(ImageRows) for rows begin … end-1 of all images and groups.
template <class Visit>
KARAFFE_INLINE bool for_each_image(const Problem& p, int64_t begin, int64_t end, Visit visit) {
  const int64_t height = p.axis[1].source;
  while (begin < end) {
    const int64_t first = begin % height, last = lesser(height, first + end - begin);
    visit(ImageRows{begin / height / p.groups, begin / height % p.groups, first, last});
    begin += last - first;
  }
  return true;
}

}  // namespace karaffe::KARAFFE_SET
