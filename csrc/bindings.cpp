// The operators of the karaffe library on the CPU key, by torch's stable ABI: arguments checked, layouts settled,
// rows shared out over torch's own threads. Only the binding files know torch.
#include <torch/csrc/stable/library.h>

#include <atomic>
#include <new>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.hpp"
#include "tensors.hpp"

namespace karaffe {
namespace {

// (N, C, S…) as a contiguous (N, S, C), copied only where memory is not so already.
Tensor pixel_by_pixel(const Tensor& t) {
  if (is_channels_last(t)) return t;
  const Sizes sizes = sizes_of(t);
  const Tensor planes = torch::stable::contiguous(t);
  Tensor flat = torch::stable::view(planes, Sizes{sizes[0], sizes[1], product(sizes, 2)});
  return torch::stable::contiguous(torch::stable::transpose(flat, 1, 2));
}

// What the three operators share of their arguments.
struct Geometry {
  Sizes kernel_size, dilation;
  int64_t groups;
  std::string padding_mode, alignment;
};

Border border_of(const std::string& name) {
  if (name == "zeros") return Border::zeros;
  if (name == "replicate") return Border::replicate;
  STD_TORCH_CHECK(name == "reflect", "padding_mode is '", name, "': zeros, replicate or reflect");
  return Border::reflect;
}

Problem describe(const Sizes& source, const Sizes& target, const Geometry& geometry) {
  const size_t spatial = source.size() - 2;
  STD_TORCH_CHECK(spatial >= 1 && spatial <= 3 && target.size() == source.size(),
                  "tensors must have 1 to 3 spatial axes, and both the same number");
  STD_TORCH_CHECK(geometry.kernel_size.size() == spatial, "kernel_size needs one entry a spatial axis");
  STD_TORCH_CHECK(geometry.dilation.empty() || geometry.dilation.size() == spatial,
                  "dilation needs one entry a spatial axis");
  STD_TORCH_CHECK(geometry.groups >= 1 && source[1] % geometry.groups == 0, "groups must divide the channels");
  STD_TORCH_CHECK(source[0] == target[0], "batch sizes differ: ", source[0], " and ", target[0]);
  Problem p;
  p.batch = source[0];
  p.groups = geometry.groups;
  p.channels = source[1] / geometry.groups;
  p.border = border_of(geometry.padding_mode);
  p.alignment = alignment_of(geometry.alignment);
  for (size_t d = 0; d < spatial; ++d) {
    Axis& axis = p.axis[3 - spatial + d];
    axis.source = source[2 + d];
    axis.target = target[2 + d];
    axis.taps = geometry.kernel_size[d];
    axis.dilation = geometry.dilation.empty() ? 1 : geometry.dilation[d];
    STD_TORCH_CHECK(axis.source >= 1 && axis.target >= 1, "spatial sizes must be at least 1");
    STD_TORCH_CHECK(axis.taps >= 1 && axis.dilation >= 1, "kernel_size and dilation must be at least 1");
  }
  return p;
}

void check_pair(const Tensor& x, const Tensor& y) {
  STD_TORCH_CHECK(x.is_cpu() && y.is_cpu(), "both tensors must be on the CPU");
  STD_TORCH_CHECK(x.scalar_type() == y.scalar_type(), "both tensors must have the same dtype");
  STD_TORCH_CHECK(x.dim() == y.dim() && x.dim() >= 3 && x.dim() <= 5,
                  "both tensors must have 3 to 5 axes and the same number");
  STD_TORCH_CHECK(x.size(0) == y.size(0), "batch sizes differ: ", x.size(0), " and ", y.size(0));
}

// body(begin, end) over `rows` rows, shared out over torch's threads; it returns false where memory ran out.
template <class Body>
void share(const Problem& p, int64_t rows, Body body) {
  if (!rows) return;
  std::atomic<bool> complete{true};
  const auto part = [&](int64_t begin, int64_t end) {
    if (!body(begin, end)) complete = false;
  };
  share_rows(rows, p.multiply_adds(), 1, part);
  if (!complete) throw std::bad_alloc();
}

template <class T>
Tensor run(Problem p, RowKernel<T> Operators<T>::*which, const Tensor& x, const Tensor& y, const Tensor& like,
           const Sizes& sizes) {
  const RowKernel<T> kernel = kernels().operators<T>().*which;
  const bool scatter = which == &Operators<T>::scatter;
  const bool channels_last = is_channels_last(like);
  if (!product(sizes, 0)) return allocate(like, sizes, channels_last);
  const auto rows = [&](const Tensor& a, const Tensor& b, const Tensor& result) {
    const T *first = a.const_data_ptr<T>(), *second = b.const_data_ptr<T>();
    T* to = result.mutable_data_ptr<T>();
    share(p, work_rows(p, scatter), [&](int64_t i, int64_t j) { return kernel(p, first, second, to, i, j); });
    return result;
  };
  p.channels_last = channels_last;
  p.factor = specialised_factor(p, sizeof(T) == sizeof(double));
  p.strided = !p.factor && has_strides(p, sizeof(T) == sizeof(double));
  if (p.factor || p.strided) {
    const MemoryFormat format = format_of(x.dim(), channels_last);
    return rows(torch::stable::contiguous(x, format), torch::stable::contiguous(y, format),
                allocate(like, sizes, channels_last));
  }
  const Tables tables(p);
  p.channels_last = true;
  const Tensor a = pixel_by_pixel(x), b = pixel_by_pixel(y);
  if (channels_last) return rows(a, b, allocate(like, sizes, true));
  const Tensor flat = rows(a, b, allocate(like, Sizes{sizes[0], product(sizes, 2), sizes[1]}, false));
  const Tensor planes = torch::stable::contiguous(torch::stable::transpose(flat, 1, 2));
  return torch::stable::view(torch::stable::flatten(planes), sizes);  // flattened: plain strides for axes of size 1
}

// A tensor of bfloat16 or float16 as one side of a kernel's call.
HalfSide half_side(const Tensor& t, const Problem& p, bool target, bool halo) {
  const void* data = t.const_data_ptr();
  return {static_cast<uint16_t*>(const_cast<void*>(data)), t.size(1) / p.groups, target ? p.factor : 1, halo};
}

void run_halves(const Problem& p, ScalarType dtype, const HalfCall& call) {
  const HalfKernel run = dtype == ScalarType::BFloat16 ? kernels().bfloat16 : kernels().float16;
  share(p, work_rows(p, false), [&](int64_t begin, int64_t end) { return run(p, call, begin, end); });
}

// float16 and bfloat16 are computed in float32 and rounded once: a few rows at a time where a specialised kernel
// serves, else as whole tensors.
Tensor run_dtype(Problem p, RowKernel<float> Operators<float>::*single, RowKernel<double> Operators<double>::*dbl,
                 const Tensor& x, const Tensor& y, const Tensor& like, const Sizes& sizes) {
  const ScalarType dtype = x.scalar_type();
  if (dtype == ScalarType::Float) return run<float>(p, single, x, y, like, sizes);
  if (dtype == ScalarType::Double) return run<double>(p, dbl, x, y, like, sizes);
  STD_TORCH_CHECK(dtype == ScalarType::Half || dtype == ScalarType::BFloat16,
                  "dtype must be float64, float32, bfloat16 or float16");
  p.factor = specialised_factor(p, false);
  if (!p.factor) {
    const Tensor wide_x = torch::stable::to(x, ScalarType::Float), wide_y = torch::stable::to(y, ScalarType::Float);
    const Tensor& wide_like = &like == &x ? wide_x : wide_y;
    return torch::stable::to(run<float>(p, single, wide_x, wide_y, wide_like, sizes), dtype);
  }
  p.channels_last = is_channels_last(like);
  const MemoryFormat format = format_of(x.dim(), p.channels_last);
  const Tensor a = torch::stable::contiguous(x, format), b = torch::stable::contiguous(y, format);
  const Tensor result = allocate(like, sizes, p.channels_last);
  const bool scatters = single == &Operators<float>::scatter;
  const HalfSide sides[] = {half_side(a, p, scatters, true), half_side(b, p, true, scatters), HalfSide{},
                            half_side(result, p, !scatters, false)};
  run_halves(p, dtype, {{sides[0], sides[1], sides[2], sides[3]}, kernels().operators<float>().*single, nullptr});
  return result;
}

Tensor reassemble(const Tensor& input, const Tensor& kernels, Sizes kernel_size, int64_t groups, Sizes dilation,
                  std::string padding_mode, std::string alignment) {
  check_pair(input, kernels);
  const Geometry geometry{kernel_size, dilation, groups, padding_mode, alignment};
  const Problem p = describe(sizes_of(input), sizes_of(kernels), geometry);
  STD_TORCH_CHECK(kernels.size(1) == groups * p.taps(), "kernels have ", kernels.size(1),
                  " channels, not groups * prod(kernel_size) = ", groups * p.taps());
  Sizes sizes = sizes_of(kernels);
  sizes[1] = input.size(1);
  return run_dtype(p, &Operators<float>::reassemble, &Operators<double>::reassemble, input, kernels, input, sizes);
}

Tensor correlate(const Tensor& input, const Tensor& query, Sizes kernel_size, int64_t groups, Sizes dilation,
                 std::string padding_mode, std::string alignment) {
  check_pair(input, query);
  const Geometry geometry{kernel_size, dilation, groups, padding_mode, alignment};
  const Problem p = describe(sizes_of(input), sizes_of(query), geometry);
  STD_TORCH_CHECK(input.size(1) == query.size(1), "input has ", input.size(1), " channels and query ",
                  query.size(1));
  Sizes sizes = sizes_of(query);
  sizes[1] = groups * p.taps();
  return run_dtype(p, &Operators<float>::correlate, &Operators<double>::correlate, input, query, input, sizes);
}

Tensor scatter(const Tensor& kernels, const Tensor& query, Sizes input_size, Sizes kernel_size, int64_t groups,
               Sizes dilation, std::string padding_mode, std::string alignment) {
  check_pair(kernels, query);
  const Geometry geometry{kernel_size, dilation, groups, padding_mode, alignment};
  Sizes sizes{query.size(0), query.size(1)};
  sizes.insert(sizes.end(), input_size.begin(), input_size.end());
  const Problem p = describe(sizes, sizes_of(query), geometry);
  STD_TORCH_CHECK(kernels.size(1) == groups * p.taps(), "kernels have ", kernels.size(1),
                  " channels, not groups * prod(kernel_size) = ", groups * p.taps());
  for (int64_t d = 2; d < query.dim(); ++d)
    STD_TORCH_CHECK(kernels.size(d) == query.size(d), "kernels and query differ in spatial size");
  return run_dtype(p, &Operators<float>::scatter, &Operators<double>::scatter, kernels, query, query, sizes);
}

Normalizer normalizer_of(const std::string& name) {
  if (name == "none") return Normalizer::none;
  if (name == "softmax") return Normalizer::softmax;
  if (name == "sigmoid") return Normalizer::sigmoid;
  if (name == "sigmoid_norm") return Normalizer::sigmoid_norm;
  STD_TORCH_CHECK(name == "sum", "normalizer is '", name, "': softmax, sigmoid, sigmoid_norm, sum or none");
  return Normalizer::sum;
}

// What the fused kernels are told; throws where none serves.
Problem describe_logits(const Tensor& input, const Tensor& logits, const Sizes& kernel_size, const Sizes& scale_factor,
                        int64_t groups, const std::string& padding_mode, const std::string& normalizer) {
  check_pair(input, logits);
  STD_TORCH_CHECK(input.dim() == 4 && scale_factor.size() == 2, "the fused kernel serves two spatial axes");
  STD_TORCH_CHECK(input.scalar_type() != ScalarType::Double, "the fused kernel serves float32, bfloat16 and float16");
  Sizes sizes = sizes_of(input);
  for (size_t d = 0; d < 2; ++d) {
    STD_TORCH_CHECK(logits.size(2 + d) == sizes[2 + d], "input and logits differ in spatial size");
    sizes[2 + d] *= scale_factor[d];
  }
  Problem p = describe(sizes_of(input), sizes, Geometry{kernel_size, {}, groups, padding_mode, "corner"});
  p.normalizer = normalizer_of(normalizer);
  p.channels_last = is_channels_last(input);
  p.factor = specialised_factor(p, false);
  STD_TORCH_CHECK(p.factor, "the fused kernel serves kernel sizes 3, 5, 7 and factors 1 to 4");
  STD_TORCH_CHECK(logits.size(1) == groups * p.taps() * scale_factor[0] * scale_factor[1],
                  "logits have ", logits.size(1), " channels, not groups * taps * factors");
  return p;
}

Tensor fused_logits(const Tensor& input, const Tensor& logits, Sizes kernel_size, Sizes scale_factor, int64_t groups,
                    std::string padding_mode, std::string normalizer) {
  const Problem p = describe_logits(input, logits, kernel_size, scale_factor, groups, padding_mode, normalizer);
  const MemoryFormat format = format_of(4, p.channels_last);
  const Tensor x = torch::stable::contiguous(input, format), y = torch::stable::contiguous(logits, format);
  const Sizes sizes{input.size(0), input.size(1), p.axis[1].target, p.axis[2].target};
  const Tensor result = allocate(x, sizes, p.channels_last);
  const RowKernel<float> kernel = kernels().logits.reassemble;
  if (input.scalar_type() != ScalarType::Float) {
    run_halves(p, input.scalar_type(),
               {{half_side(x, p, false, true), half_side(y, p, false, false), HalfSide{},
                 half_side(result, p, true, false)}, kernel, nullptr});
    return result;
  }
  const float *source = x.const_data_ptr<float>(), *scores = y.const_data_ptr<float>();
  float* to = result.mutable_data_ptr<float>();
  share(p, work_rows(p, false), [&](int64_t begin, int64_t end) {
    return kernel(p, source, scores, to, begin, end);
  });
  return result;
}

std::tuple<Tensor, Tensor> fused_logits_backward(const Tensor& grad, const Tensor& input, const Tensor& logits,
                                                 Sizes kernel_size, Sizes scale_factor, int64_t groups,
                                                 std::string padding_mode, std::string normalizer) {
  const Problem p = describe_logits(input, logits, kernel_size, scale_factor, groups, padding_mode, normalizer);
  const Sizes sizes{input.size(0), input.size(1), p.axis[1].target, p.axis[2].target};
  STD_TORCH_CHECK(sizes_of(grad) == sizes, "grad is not of the result's size");
  STD_TORCH_CHECK(grad.is_cpu() && grad.scalar_type() == input.scalar_type(), "grad must be like input");
  const MemoryFormat format = format_of(4, p.channels_last);
  const Tensor x = torch::stable::contiguous(input, format), y = torch::stable::contiguous(logits, format),
               q = torch::stable::contiguous(grad, format);
  const Tensor by_input = allocate(x, sizes_of(input), p.channels_last);
  const Tensor by_logits = allocate(x, sizes_of(logits), p.channels_last);
  const LogitOperators& with_logits = kernels().logits;
  if (input.scalar_type() != ScalarType::Float) {
    run_halves(p, input.scalar_type(),
               {{half_side(y, p, false, true), half_side(q, p, true, true), HalfSide{},
                 half_side(by_input, p, false, false)}, with_logits.scatter, nullptr});
    run_halves(p, input.scalar_type(),
               {{half_side(x, p, false, true), half_side(q, p, true, false), half_side(y, p, false, false),
                 half_side(by_logits, p, false, false)}, nullptr, with_logits.correlate});
  } else {
    const float *source = x.const_data_ptr<float>(), *scores = y.const_data_ptr<float>(),
                *query = q.const_data_ptr<float>();
    float *to_input = by_input.mutable_data_ptr<float>(), *to_logits = by_logits.mutable_data_ptr<float>();
    share(p, work_rows(p, true), [&](int64_t begin, int64_t end) {
      return with_logits.scatter(p, scores, query, to_input, begin, end) &&
             with_logits.correlate(p, source, query, scores, to_logits, begin, end);
    });
  }
  return {by_input, torch::stable::contiguous(by_logits, format_of(4, is_channels_last(logits)))};
}

}  // namespace
}  // namespace karaffe

STABLE_TORCH_LIBRARY_IMPL(karaffe, CPU, m) {
  m.impl("reassemble", TORCH_BOX(&karaffe::reassemble));
  m.impl("correlate", TORCH_BOX(&karaffe::correlate));
  m.impl("scatter", TORCH_BOX(&karaffe::scatter));
  m.impl("fused_logits", TORCH_BOX(&karaffe::fused_logits));
  m.impl("fused_logits_backward", TORCH_BOX(&karaffe::fused_logits_backward));
}

// Plain C entries for the Python side: the instruction set in use, and choosing another (0: not to be had here).
extern "C" {
__attribute__((visibility("default"))) const char* karaffe_simd() { return karaffe::kernels().name; }
__attribute__((visibility("default"))) int karaffe_select_simd(const char* name) { return karaffe::select(name); }
}
