// What stops the kernels? Each is timed beside what it is made of, in turns, in one process: its multiply-adds as fast as
// registers allow; its inner loop on what lies in the first cache; what it lays out anew, on the same values again and
// again; and its reads and writes alone, in its order. Compiled and run by roofline.py; prints one line of JSON a
// measurement.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>

#include "correlate_rows.hpp"
#include "reassemble_pixels.hpp"
#include "reassemble_planes.hpp"
#include "scatter_rows.hpp"

namespace {
using namespace karaffe;
using namespace karaffe::KARAFFE_SET;
constexpr int K = 5, S = 2;

double milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Values aligned as torch's are: otherwise half of all loads and stores would cross cache lines.
struct Values {
  Scratch<float> memory;
  Values(int64_t count, float value) : memory(count) {
    if (!memory) std::abort();
    std::fill(memory.get(), memory.get() + count, value);
  }
  float* data() const { return memory.get(); }
};

struct Tensors {
  int64_t of_source, of_kernels, of_target;
  Values source, kernels, target, result_source, result_kernels, result_target;
  explicit Tensors(const Problem& p)
      : of_source(p.batch * p.channels * p.source_pixels()), of_kernels(p.batch * p.taps() * p.target_pixels()),
        of_target(p.batch * p.channels * p.target_pixels()), source(of_source, 0.5f), kernels(of_kernels, 0.04f),
        target(of_target, 0.5f), result_source(of_source, 0), result_kernels(of_kernels, 0),
        result_target(of_target, 0) {}
};

Problem problem(int64_t batch, int64_t channels, int64_t height, int64_t width, bool channels_last) {
  Problem p;
  p.batch = batch;
  p.channels = channels;
  p.channels_last = channels_last;
  p.factor = S;
  p.axis[1].source = height;
  p.axis[2].source = width;
  for (int d = 1; d < 3; ++d) p.axis[d].target = S * p.axis[d].source, p.axis[d].taps = K;
  return p;
}

void run(const std::string& op, const Problem& p, Tensors& t) {
  const int64_t rows = work_rows(p, false);
  const float *v = t.source.data(), *a = t.kernels.data(), *q = t.target.data();
  if (op == "correlate") CorrelateRows<float, K, S>{p}.run(v, q, t.result_kernels.data(), 0, rows);
  else if (op == "scatter") ScatterRows<float, K, S>{p}.run(a, q, t.result_source.data(), 0, rows);
  else if (p.channels_last) ReassemblePixels<float, K, S>{p}.run(v, a, t.result_target.data(), 0, rows);
  else ReassemblePlanes<float, K, S>{p}.run(v, a, t.result_target.data(), 0, rows);
}

// The compiler must not find out that nobody looks at v.
void use(const Vec<float>& v) {
  asm volatile("" : : "m"(v));
}

// `count` values read, or written.
void touch(const float* from, float* to, int64_t count) {
  Vec<float> sum = {};
  for (int64_t n = 0; n + lanes<float> <= count; n += lanes<float>)
    if (to) store(to + n, splat(1.0f));
    else sum += load(from + n);
  use(sum);
}

// One side of the operator, row of the source by row, in the runs of memory that its layout has.
void walk(const Problem& p, int64_t image, int64_t y, int64_t channels, int64_t factor, const float* from, float* to) {
  const int64_t row = factor * factor * p.axis[2].source, plane = row * p.axis[1].source;
  const int64_t first = image * channels * plane;
  const int64_t at = first + y * row * channels;
  if (p.channels_last) return touch(from + at, to ? to + at : to, row * channels);
  for (int64_t c = 0; c < channels; ++c)
    touch(from + first + c * plane + y * row, to ? to + first + c * plane + y * row : to, row);
}

void traffic(const std::string& op, const Problem& p, Tensors& t) {
  for (int64_t image = 0; image < p.batch; ++image)
    for (int64_t y = 0; y < p.axis[1].source; ++y) {
      const bool source = op == "scatter", kernels = op == "correlate", target = op == "reassemble";
      walk(p, image, y, p.channels, 1, t.source.data(), source ? t.result_source.data() : nullptr);
      walk(p, image, y, K * K, S, t.kernels.data(), kernels ? t.result_kernels.data() : nullptr);
      walk(p, image, y, p.channels, S, t.target.data(), target ? t.result_target.data() : nullptr);
    }
}

// Everything that the kernel turns from one layout to another before and after its inner loop, row by row, but always
// the first row or tile, which stays in the caches where its layout lets it.
void lay_out(const std::string& op, const Problem& p, Tensors& t) {
  const int64_t rows = p.batch * p.axis[1].source, width = p.axis[2].source;
  const float *source = t.source.data(), *kernels = t.kernels.data(), *target = t.target.data();
  if (op == "correlate") {
    using Kernel = CorrelateRows<float, K, S>;
    const Kernel kernel{p};
    Kernel::Walk walk(kernel);
    for (int64_t row = 0; row < rows; ++row) {
      walk.ring.fill(source, 0);
      for (int64_t first = 0; first < vectors<float>(width); first += kernel.tile) {
        const Kernel::Tile tile{0, 0, lesser(kernel.tile, vectors<float>(width) - first)};
        for (int64_t c = 0; c < p.channels; c += Kernel::chunk)
          kernel.lay_out_query(target, tile, lesser(Kernel::chunk, p.channels - c), walk.laid_out.get());
        std::memset(walk.sums.get(), 0, kernel.tile * Kernel::vector_sums * sizeof(float));
        kernel.write(walk.sums.get(), tile, t.result_kernels.data());
      }
    }
  } else if (op == "scatter") {
    using Kernel = ScatterRows<float, K, S>;
    const Kernel kernel{p};
    ResultRing<float, K, Kernel::B> ring(p);
    const int64_t together = kernel.blocks_together * Kernel::B;
    Values laid_out(kernel.blocks_together * S * kernel.row_targets * Kernel::B, 0), taps(K * kernel.tap_row, 0);
    for (int64_t row = 0; row < rows; ++row) {
      ring.clear(0);
      for (int64_t first = 0; first < width; first += kernel.tile) {
        const Kernel::Tile tile{0, 0, lesser(kernel.tile, width - first)};
        kernel.lay_out_kernels(kernels, tile, taps.data());
        for (int64_t c = 0; c < p.channels; c += together)
          kernel.lay_out_query(target, tile, lesser(together, p.channels - c), laid_out.data());
      }
      ring.write(0, t.result_source.data());
    }
  } else if (p.channels_last) {
    PixelRing<float, K, ReassemblePixels<float, K, S>::B> ring(p);
    for (int64_t row = 0; row < rows; ++row) ring.fill(source, 0);
  } else {
    using Kernel = ReassemblePlanes<float, K, S>;
    RowRing<float, K, K + 1> ring(p);
    Values laid_out(vectors<float>(width) * Kernel::vector_kernels, 0);
    for (int64_t row = 0; row < rows; ++row) {
      ring.fill(source, 0);
      Kernel{p}.lay_out_kernels(kernels, 0, laid_out.data());
    }
  }
}

// `count` multiply-adds of vectors that never leave the registers, enough of them at once to hide their latency.
void multiply_adds(int64_t count) {
  Vec<float> a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{}, x = splat(0.5f), y = splat(0.25f);
  keep(x);
  keep(y);
  const auto add = [&](Vec<float>& sum) __attribute__((always_inline)) {
    sum += x * y;
    keep(sum);
  };
  for (int64_t at = 0; at < count; at += 10)
    add(a), add(b), add(c), add(d), add(e), add(f), add(g), add(h), add(i), add(j);
  use(a + b + c + d + e + f + g + h + i + j);
}

// `CV` vectors of channels at a time, or fewer where there are no more.
template <int CV, class Visit>
void with_vectors(int64_t channels, const Visit& visit) {
  if constexpr (CV > 1)
    if (channels <= (CV - 1) * lanes<float>) return with_vectors<CV - 1>(channels, visit);
  visit.template operator()<CV>();
}

// The inner loop of a kernel on the same few values again and again, with no more channels at a time than there are; how
// many multiply-adds that were of use.
double inner_loop(const std::string& op, const Problem& of) {
  constexpr int times = 200, pixels = 16;
  alignas(64) static float v[1 << 13], a[1 << 12], out[1 << 14];
  const Problem p = problem(1, of.channels, K, pixels, of.channels_last);
  double products = 0;
  for (int n = 0; n < times; ++n) {
    if (op == "correlate") {
      using Kernel = CorrelateRows<float, K, S>;
      const int64_t together = lesser(32, p.channels);
      Kernel::row_of_taps<Kernel::taps>(v + 2, 88, a, together, out);
      products += 1.0 * together * K * S * S * lanes<float>;
    } else if (op == "scatter") {
      using Kernel = ScatterRows<float, K, S>;
      with_vectors<Kernel::block_vectors>(p.channels, [&]<int CV> { Kernel{p}.sweep<CV>(a, v, pixels, out); });
      products += 1.0 * pixels * K * S * S * lesser(Kernel::B, p.channels);
    } else if (p.channels_last) {
      using Kernel = ReassemblePixels<float, K, S>;
      const float* rows[K];
      for (int i = 0; i < K; ++i) rows[i] = v + i * (pixels + K) * Kernel::B / 2;
      const int64_t together = lesser(Kernel::B, p.channels);
      with_vectors<Kernel::block_vectors>(p.channels, [&]<int CV> {
        Kernel{p}.pixel<CV>(rows, a, K * K, out, together);
      });
      products += 1.0 * K * K * S * S * together;
    } else {
      using Kernel = ReassemblePlanes<float, K, S>;
      const float* rows[K];
      for (int i = 0; i < K; ++i) rows[i] = v + 2 + i * 24;
      Kernel::block<Kernel::channel_block>(a, rows, 6 * 24, out, S * S * pixels * K + 16, pixels);
      products += 1.0 * K * K * S * S * Kernel::channel_block * lanes<float>;
    }
    asm volatile("" : : : "memory");
  }
  return products;
}
}  // namespace

int main(int count, char** given) {
  const auto number = [&](int n) { return std::atoll(given[n]); };
  if (count != 6) return 2;
  const int rounds = static_cast<int>(number(5));
  for (bool channels_last : {false, true}) {
    Problem p = problem(number(1), number(2), number(3), number(4), channels_last);
    Tensors all(p);
    Tables tables(p);
    for (const std::string op : {"reassemble", "correlate", "scatter"}) {
      const double products = p.multiply_adds();
      // what it is called, and what gives the number of multiply-adds that it timed
      const std::pair<const char*, std::function<double()>> calls[] = {
          {"kernel", [&] { return run(op, p, all), products; }},
          {"traffic", [&] { return traffic(op, p, all), products; }},
          {"laying out", [&] { return lay_out(op, p, all), products; }},
          {"inner loop", [&] { return inner_loop(op, p); }},
          {"registers", [&] { return multiply_adds(1 << 18), static_cast<double>((1 << 18) * lanes<float>); }}};
      for (const auto& [name, call] : calls) call();
      for (int round = 0; round < rounds; ++round)
        for (const auto& [name, call] : calls) {
          const double begin = milliseconds(), done = call(), took = milliseconds() - begin;
          std::printf("{\"layout\": \"%s\", \"operator\": \"%s\", \"what\": \"%s\", \"ms\": %.6f}\n",
                      channels_last ? "channels-last" : "NCHW", op.c_str(), name, took * products / done);
        }
    }
  }
}
