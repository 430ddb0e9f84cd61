// Local attention on the CPU key: arguments checked, layouts and dtypes settled, rows shared out over torch's threads.
#include <torch/csrc/stable/library.h>

#include <atomic>
#include <new>
#include <numeric>
#include <optional>
#include <tuple>

#include "attention.hpp"
#include "tensors.hpp"

namespace karaffe {
namespace {

struct Options {
  Sizes kernel_size;
  int64_t heads;
  double scale;
  std::optional<Sizes> taps;
  Sizes dilation;
  std::string padding_mode, alignment;
};

Outside outside_of(const std::string& name) {
  if (name == "zeros") return Outside::zeros;
  if (name == "mask") return Outside::mask;
  if (name == "shift") return Outside::shift;
  if (name == "replicate") return Outside::replicate;
  STD_TORCH_CHECK(name == "reflect", "padding_mode is '", name, "': zeros, mask, shift, replicate or reflect");
  return Outside::reflect;
}

void check_axis(const WindowAxis& axis, Outside mode) {
  STD_TORCH_CHECK(axis.source >= 1 && axis.target >= 1, "spatial sizes must be at least 1");
  STD_TORCH_CHECK(axis.taps >= 1 && axis.dilation >= 1, "kernel_size and dilation must be at least 1");
  STD_TORCH_CHECK(mode != Outside::shift || axis.source / axis.dilation >= axis.taps,
                  "padding_mode 'shift' needs kernel_size * dilation source pixels or more an axis");
}

void check_tensors(const Tensor& query, const Tensor& key, const Tensor& value, const std::optional<Tensor>& bias) {
  for (const Tensor* t : {&query, &key, &value}) {
    STD_TORCH_CHECK(t->is_cpu(), "all tensors must be on the CPU");
    STD_TORCH_CHECK(t->scalar_type() == query.scalar_type(), "all tensors must have the same dtype");
    STD_TORCH_CHECK(t->dim() == query.dim() && t->dim() >= 3 && t->dim() <= 5,
                    "query, key and value must have 3 to 5 axes and the same number");
    STD_TORCH_CHECK(t->size(0) == query.size(0), "batch sizes differ: ", t->size(0), " and ", query.size(0));
  }
  STD_TORCH_CHECK(query.size(1) == key.size(1), "query has ", query.size(1), " channels and key ", key.size(1));
  for (int64_t d = 2; d < key.dim(); ++d)
    STD_TORCH_CHECK(key.size(d) == value.size(d), "key and value differ in spatial size");
  if (bias) STD_TORCH_CHECK(bias->scalar_type() == query.scalar_type(), "bias must have the dtype of query");
}

Attention describe(const Tensor& query, const Tensor& key, const Tensor& value, const Options& options, Sizes& taps) {
  const size_t spatial = static_cast<size_t>(query.dim()) - 2;
  STD_TORCH_CHECK(options.kernel_size.size() == spatial, "kernel_size needs one entry a spatial axis");
  STD_TORCH_CHECK(options.dilation.empty() || options.dilation.size() == spatial,
                  "dilation needs one entry a spatial axis");
  STD_TORCH_CHECK(options.heads >= 1 && query.size(1) % options.heads == 0 && value.size(1) % options.heads == 0,
                  "heads must divide the channels of query and value");
  Attention a;
  a.batch = query.size(0);
  a.heads = options.heads;
  a.key_channels = query.size(1) / options.heads;
  a.value_channels = value.size(1) / options.heads;
  a.scale = options.scale;
  for (size_t d = 0; d < spatial; ++d) {
    WindowAxis& axis = a.axis[3 - spatial + d];
    axis.source = key.size(2 + d);
    axis.target = query.size(2 + d);
    axis.taps = options.kernel_size[d];
    axis.dilation = options.dilation.empty() ? 1 : options.dilation[d];
    check_axis(axis, outside_of(options.padding_mode));
  }
  if (options.taps) {
    taps = *options.taps;
    for (int64_t tap : taps) STD_TORCH_CHECK(tap >= 0 && tap < a.window(), "taps must be numbers of the window");
  } else {
    taps.resize(a.window());
    std::iota(taps.begin(), taps.end(), 0);
  }
  a.taps = taps.data();
  a.tap_count = static_cast<int64_t>(taps.size());
  return a;
}

// As the kernels read it: float32 for the half precisions, dense in one of the two layouts.
Tensor readable(const Tensor& t, ScalarType computed) {
  const Tensor wide = t.scalar_type() == computed ? t : torch::stable::to(t, computed);
  return is_channels_last(wide) ? wide : torch::stable::contiguous(wide);
}

template <class T>
Map<const T> map_of(const Tensor& t) {
  return {t.const_data_ptr<T>(), is_channels_last(t), t.size(1), product(sizes_of(t), 2)};
}
template <class T>
Map<T> result_map(const Tensor& t) {
  return {t.mutable_data_ptr<T>(), is_channels_last(t), t.size(1), product(sizes_of(t), 2)};
}

ScalarType computed_in(const Tensor& t) {
  const ScalarType dtype = t.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::Half ||
                      dtype == ScalarType::BFloat16,
                  "dtype must be float64, float32, bfloat16 or float16");
  return dtype == ScalarType::Double ? dtype : ScalarType::Float;
}

// What both passes are given, as the kernels read it, and in their terms.
struct Call {
  Tensor query, key, value;
  std::optional<Tensor> bias;
  Sizes taps;
  Attention attention;
  Windows windows;

  Call(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& b, const Options& options)
      : query(readable(q, computed_in(q))), key(readable(k, computed_in(q))), value(readable(v, computed_in(q))),
        bias(b ? std::optional(torch::stable::contiguous(readable(*b, computed_in(q)))) : std::nullopt),
        attention(describe(query, key, value, options, taps)),
        windows(attention, outside_of(options.padding_mode), alignment_of(options.alignment)) {
    STD_TORCH_CHECK(!bias || (bias->dim() == 2 && bias->size(0) == attention.batch &&
                              bias->size(1) == attention.heads * attention.window()),
                    "bias must be (batch, heads * taps)");
  }

  template <class T>
  AttentionTensors<T> tensors() const {
    AttentionTensors<T> t;
    t.query = map_of<T>(query);
    t.key = map_of<T>(key);
    t.value = map_of<T>(value);
    if (bias) t.bias = bias->template const_data_ptr<T>();
    return t;
  }

  template <class T>
  void run(AttentionKernel<T> kernel, const AttentionTensors<T>& t, int64_t rows, int64_t contractions,
           int64_t least) const {
    std::atomic<bool> complete{true};
    const int64_t each = attention.batch * attention.heads * attention.tap_count * attention.target_pixels();
    share_rows(rows, contractions * each, least, [&](int64_t begin, int64_t end) {
      if (!kernel(attention, t, begin, end)) complete = false;
    });
    if (!complete) throw std::bad_alloc();
  }
};

template <class T>
std::tuple<Tensor, Tensor> forward(const Call& call) {
  const Attention& a = call.attention;
  Sizes sizes = sizes_of(call.query), totals = sizes;
  sizes[1] = call.value.size(1);
  totals[1] = a.heads;
  const Tensor result = allocate(call.value, sizes, is_channels_last(call.value));
  const Tensor log_sum = allocate(call.value, totals, false);
  if (!a.batch) return {result, log_sum};
  AttentionTensors<T> t = call.tensors<T>();
  t.result = result_map<T>(result);
  t.result.channels_last = is_channels_last(call.value);
  t.log_sum = log_sum.mutable_data_ptr<T>();
  const AttentionKernels<T>& kernels = attention_kernels<T>();
  const bool planes = kernels.planes && a.planes.factor && !t.query.channels_last && !t.key.channels_last &&
                      !t.value.channels_last;
  call.run<T>(planes ? kernels.planes : kernels.forward, t, a.forward_rows(), a.key_channels + a.value_channels, 1);
  return {result, log_sum};
}

// (batch * heads, rows, window) summed over the rows, in one order.
template <class T>
void sum_rows(const Attention& a, const T* rows, T* result) {
  const int64_t count = a.axis[0].source * a.axis[1].source, window = a.window();
  for (int64_t at = 0; at < a.batch * a.heads; ++at, result += window) {
    std::fill(result, result + window, T(0));
    for (int64_t row = 0; row < count; ++row, rows += window)
      for (int64_t n = 0; n < window; ++n) result[n] += rows[n];
  }
}

template <class T>
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Call& call, const Tensor& grad, const Tensor& log_sum) {
  const Attention& a = call.attention;
  const auto like = [](const Tensor& t) { return allocate(t, sizes_of(t), is_channels_last(t)); };
  const Tensor by_query = like(call.query), by_key = like(call.key), by_value = like(call.value);
  const Tensor by_bias = allocate(grad, Sizes{a.batch, call.bias ? call.bias->size(1) : 0}, false);
  if (!a.batch) return {by_query, by_key, by_value, by_bias};
  const int64_t image_rows = a.axis[0].source * a.axis[1].source;
  const Tensor bias_rows = allocate(grad, Sizes{call.bias ? a.batch * a.heads * image_rows * a.window() : 0}, false);
  AttentionTensors<T> t = call.tensors<T>();
  t.grad = map_of<T>(grad);
  t.known_log_sum = log_sum.const_data_ptr<T>();
  t.by_query = result_map<T>(by_query);
  t.by_key = result_map<T>(by_key);
  t.by_value = result_map<T>(by_value);
  t.by_query.channels_last = t.query.channels_last;
  t.by_key.channels_last = t.key.channels_last;
  t.by_value.channels_last = t.value.channels_last;
  if (call.bias) t.by_bias = bias_rows.mutable_data_ptr<T>();
  // a part walks its neighbours' rows too, which a short one cannot afford
  call.run<T>(attention_kernels<T>().backward, t, a.backward_rows(),
              3 * a.key_channels + 2 * a.value_channels, a.axis[a.split_axis()].span);
  if (call.bias) sum_rows(a, bias_rows.const_data_ptr<T>(), by_bias.mutable_data_ptr<T>());
  return {by_query, by_key, by_value, by_bias};
}

Tensor narrowed(const Tensor& t, const Tensor& like) {
  return t.scalar_type() == like.scalar_type() ? t : torch::stable::to(t, like.scalar_type());
}

std::tuple<Tensor, Tensor> local_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                           std::optional<Tensor> bias, Sizes kernel_size, int64_t heads, double scale,
                                           std::optional<Sizes> taps, Sizes dilation, std::string padding_mode,
                                           std::string alignment) {
  check_tensors(query, key, value, bias);
  const Call call(query, key, value, bias, {kernel_size, heads, scale, taps, dilation, padding_mode, alignment});
  auto [result, log_sum] =
      computed_in(query) == ScalarType::Double ? forward<double>(call) : forward<float>(call);
  return {narrowed(result, query), log_sum};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> local_attention_backward(
    const Tensor& grad, const Tensor& query, const Tensor& key, const Tensor& value, std::optional<Tensor> bias,
    const Tensor& log_sum, Sizes kernel_size, int64_t heads, double scale, std::optional<Sizes> taps, Sizes dilation,
    std::string padding_mode, std::string alignment) {
  check_tensors(query, key, value, bias);
  const Call call(query, key, value, bias, {kernel_size, heads, scale, taps, dilation, padding_mode, alignment});
  Sizes sizes = sizes_of(query), totals = sizes;
  sizes[1] = value.size(1);
  totals[1] = heads;
  STD_TORCH_CHECK(sizes_of(grad) == sizes, "grad must have the shape of the result");
  STD_TORCH_CHECK(sizes_of(log_sum) == totals, "log_sum must be (batch, heads, targets)");
  const ScalarType computed = computed_in(query);
  const Tensor from = readable(grad, computed), totals_of = torch::stable::contiguous(readable(log_sum, computed));
  auto [by_query, by_key, by_value, by_bias] = computed == ScalarType::Double
                                                   ? backward<double>(call, from, totals_of)
                                                   : backward<float>(call, from, totals_of);
  return {narrowed(by_query, query), narrowed(by_key, query), narrowed(by_value, query), narrowed(by_bias, query)};
}

}  // namespace
}  // namespace karaffe

STABLE_TORCH_LIBRARY_IMPL(karaffe, CPU, m) {
  m.impl("local_attention", TORCH_BOX(&karaffe::local_attention));
  m.impl("local_attention_backward", TORCH_BOX(&karaffe::local_attention_backward));
}
