// The table of one instruction set's kernels of local attention.
#include "attention_kernels.hpp"

namespace karaffe::KARAFFE_SET {

const AttentionSet& attention_set() {
  static const AttentionSet set = {{attention<float>, attention_backward<float>, attention_planes},
                                   {attention<double>, attention_backward<double>, nullptr}};
  return set;
}

}  // namespace karaffe::KARAFFE_SET
