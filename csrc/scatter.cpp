#include "general.hpp"
#include "scatter_pixels.hpp"
#include "scatter_planes.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
bool scatter(const Problem& p, const T* kernels, const T* query, T* result, int64_t begin, int64_t end) {
  if (!p.factor) return scatter_general(p, kernels, query, result, begin, end);
  if (p.channels_last) return specialised<T, ScatterPixels>(p, kernels, query, result, begin, end);
  return specialised<T, ScatterPlanes>(p, kernels, query, result, begin, end);
}

template bool scatter(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool scatter(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
