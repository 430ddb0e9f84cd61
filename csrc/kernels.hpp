// The kernels as the binding sees them: one table an instruction set, chosen at run time.
#pragma once
#include "problem.hpp"

namespace karaffe {

// Work is counted in rows; a call computes rows begin … end-1 and returns false where memory ran out. What a row
// holds does not depend on how rows are shared out, so neither do the bits.
template <class T>
using RowKernel = bool (*)(const Problem&, const T* x, const T* y, T* result, int64_t begin, int64_t end);
using RowKernelOfThree = bool (*)(const Problem&, const float* x, const float* y, const float* z, float* result,
                                  int64_t begin, int64_t end);

template <class T>
struct Operators {
  RowKernel<T> reassemble;  // x: source, y: kernels, result: target side
  RowKernel<T> correlate;   // x: source, y: target side, result: kernels
  RowKernel<T> scatter;     // x: kernels, y: target side, result: source
};

// The same with kernels that are made from logits at source resolution, in float32 and for specialised problems only.
struct LogitOperators {
  RowKernel<float> reassemble;  // x: source, y: logits, result: target side
  RowKernel<float> scatter;     // x: logits, y: target side, result: source
  RowKernelOfThree correlate;   // x: source, y: target side, z: logits, result: the gradient by them
};

// A tensor of bfloat16 or float16 as a specialised kernel in float32 uses it.
struct HalfSide {
  uint16_t* data = nullptr;
  int64_t channels = 0;  // of a group
  int64_t factor = 1;    // pixels an axis for each source pixel
  bool halo = false;     // rows in reach are read, too
};
struct HalfCall {
  HalfSide side[4];  // x, y, z, result
  RowKernel<float> two = nullptr;
  RowKernelOfThree three = nullptr;
};
using HalfKernel = bool (*)(const Problem&, const HalfCall&, int64_t begin, int64_t end);

struct KernelSet {
  const char* name;
  Operators<float> single;
  Operators<double> dbl;
  LogitOperators logits;
  HalfKernel bfloat16, float16;
  template <class T>
  const Operators<T>& operators() const;
};
template <>
inline const Operators<float>& KernelSet::operators<float>() const { return single; }
template <>
inline const Operators<double>& KernelSet::operators<double>() const { return dbl; }

// Rows of work of a problem: of source rows for scatter and every specialised kernel, else, and for every strided one,
// of target rows.
inline int64_t work_rows(const Problem& p, bool scatter) {
  if (p.strided) return p.batch * p.groups * p.axis[1].target;
  if (p.factor) return p.batch * p.groups * p.axis[1].source;
  return p.batch * (scatter ? p.axis[0].source * p.axis[1].source : p.axis[0].target * p.axis[1].target);
}

// The set in use: the best the processor has, until `select` names another.
const KernelSet& kernels();
// False where the name is unknown or the processor lacks it.
bool select(const char* name);

}  // namespace karaffe
