#include "general.hpp"
#include "correlate_rows.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
bool correlate(const Problem& p, const T* source, const T* query, T* result, int64_t begin, int64_t end) {
  if (!p.factor) return correlate_general(p, source, query, result, begin, end);
  return specialised<T, CorrelateRows>(p, source, query, result, begin, end);
}

template bool correlate(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool correlate(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
