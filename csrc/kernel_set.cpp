// The table of one instruction set.
#include "halves.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

const KernelSet& kernel_set() {
  static const KernelSet set = {
      KARAFFE_SET_NAME,
      {reassemble<float>, correlate<float>, scatter<float>},
      {reassemble<double>, correlate<double>, scatter<double>},
      {reassemble_logits, scatter_logits, correlate_logits},
      run_halves<true>,
      run_halves<false>};
  return set;
}

}  // namespace karaffe::KARAFFE_SET
