#include "general.hpp"
#include "reassemble_pixels.hpp"
#include "reassemble_planes.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
bool reassemble(const Problem& p, const T* source, const T* kernels, T* result, int64_t begin, int64_t end) {
  if (!p.factor) return reassemble_general(p, source, kernels, result, begin, end);
  if (p.channels_last) return specialised<T, ReassemblePixels>(p, source, kernels, result, begin, end);
  return specialised<T, ReassemblePlanes>(p, source, kernels, result, begin, end);
}

template bool reassemble(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool reassemble(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
