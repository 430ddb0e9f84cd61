// Reassembly, with kernels as they are given or made from logits as each row needs them.
#include "general.hpp"
#include "logits.hpp"
#include "reassemble_pixels.hpp"
#include "reassemble_planes.hpp"
#include "specialised.hpp"
#include "strided.hpp"

namespace karaffe::KARAFFE_SET {

template <class T, int K, int S>
struct LogitPlanes : ReassemblePlanes<T, K, S> {
  bool run(const T* source, const T* logits, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    return this->run_rows(source, result, begin, end, [&](const ImageRows& at, int64_t y, T* to) {
      rows.template kernels<ReassemblePlanes<T, K, S>::phases>(rows.of(logits, at), y, 0, rows.image_vectors, to);
    });
  }
};

template <class T, int K, int S>
struct LogitPixels : ReassemblePixels<T, K, S> {
  bool run(const T* source, const T* logits, T* result, int64_t begin, int64_t end) const {
    const LogitRows<T, K, S> rows{this->p};
    Scratch<T> vector(rows.vector_kernels), kernels(S * S * rows.width * K * K);
    if (!vector || !kernels) return false;
    return this->run_rows(source, result, begin, end, K * K, [&](const ImageRows& at, int64_t y) {
      for (int64_t v = 0; v < rows.image_vectors; ++v) {
        rows.template kernels<S * S>(rows.of(logits, at), y, v, v + 1, vector.get());
        const int64_t first = S * first_pixel<T>(v, rows.width);
        for (int f = 0; f < S * S; ++f)
          transpose(vector.get() + f * lanes<T>, S * S * lanes<T>, K * K,
                    kernels.get() + (f / S * S * rows.width + first + f % S) * K * K, S * K * K, rows.pixels_in_vector);
      }
      return kernels.get();
    });
  }
};

template <class T>
bool reassemble(const Problem& p, const T* source, const T* kernels, T* result, int64_t begin, int64_t end) {
  if constexpr (sizeof(T) == sizeof(float))
    if (p.strided) return Strided<T>{p}.reassemble(source, kernels, result, begin, end);
  if (!p.factor) return reassemble_general(p, source, kernels, result, begin, end);
  if (p.channels_last) return specialised<T, ReassemblePixels>(p, source, kernels, result, begin, end);
  return specialised<T, ReassemblePlanes>(p, source, kernels, result, begin, end);
}

bool reassemble_logits(const Problem& p, const float* source, const float* logits, float* result, int64_t begin,
                       int64_t end) {
  if (p.channels_last) return specialised<float, LogitPixels>(p, source, logits, result, begin, end);
  return specialised<float, LogitPlanes>(p, source, logits, result, begin, end);
}

template bool reassemble(const Problem&, const float*, const float*, float*, int64_t, int64_t);
template bool reassemble(const Problem&, const double*, const double*, double*, int64_t, int64_t);

}  // namespace karaffe::KARAFFE_SET
