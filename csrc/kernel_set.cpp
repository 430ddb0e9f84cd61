// The table of one instruction set.
#include "general.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
static constexpr Operators<T> operators = {reassemble_general<T>, correlate_general<T>, scatter_general<T>};

const KernelSet& kernel_set() {
  static const KernelSet set = {KARAFFE_SET_NAME, operators<float>, operators<double>};
  return set;
}

}  // namespace karaffe::KARAFFE_SET
