// Reassembly with kernels that are made from logits as each row needs them.
#include "logits.hpp"
#include "reassemble_pixels.hpp"
#include "reassemble_planes.hpp"
#include "specialised.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct LogitPlanes : ReassemblePlanes<T, K, S> {
  bool run(const T* source, const T* logits, T* result, int64_t begin, int64_t end) const {
    const Problem& p = this->p;
    const LogitRows<T, K, S> rows{p};
    return this->run_rows(source, result, begin, end, [&](const ImageRows& at, int64_t y, T* to) {
      const T* image = logits + at.first_value(p, K * K * S * S, rows.width * rows.height);
      rows.template from_planes<ReassemblePlanes<T, K, S>::phases>(image, y, to);
    });
  }
};

template <class T, int K, int S>
struct LogitPixels : ReassemblePixels<T, K, S> {
  bool run(const T* source, const T* logits, T* result, int64_t begin, int64_t end) const {
    const Problem& p = this->p;
    const LogitRows<T, K, S> rows{p};
    Scratch<T> vector(rows.vector_kernels), kernels(S * S * rows.width * K * K);
    if (!vector || !kernels) return false;
    return this->run_rows(source, result, begin, end, K * K, [&](const ImageRows& at, int64_t y) {
      const T* image = logits + at.first_value(p, K * K * S * S, rows.width * rows.height);
      rows.from_pixels(image, y, vector.get(), kernels.get());
      return kernels.get();
    });
  }
};

template <class T>
bool reassemble_logits(const Problem& p, const T* source, const T* logits, T* result, int64_t begin, int64_t end) {
  if (p.channels_last) return specialised<T, LogitPixels>(p, source, logits, result, begin, end);
  return specialised<T, LogitPlanes>(p, source, logits, result, begin, end);
}

template bool reassemble_logits(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool reassemble_logits(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
