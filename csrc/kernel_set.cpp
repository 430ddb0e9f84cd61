// The table of one instruction set.
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
static constexpr Operators<T> operators = {reassemble<T>, correlate<T>, scatter<T>, reassemble_logits<T>};

const KernelSet& kernel_set() {
  static const KernelSet set = {KARAFFE_SET_NAME, operators<float>, operators<double>};
  return set;
}

}  // namespace karaffe::KARAFFE_SET
