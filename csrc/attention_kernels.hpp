// The kernels of local attention of one instruction set.
#pragma once
#include "attention.hpp"

namespace karaffe::KARAFFE_SET {

template <class T>
bool attention(const Attention& a, const AttentionTensors<T>& t, int64_t begin, int64_t end);
template <class T>
bool attention_backward(const Attention& a, const AttentionTensors<T>& t, int64_t begin, int64_t end);
bool attention_planes(const Attention& a, const AttentionTensors<float>& t, int64_t begin, int64_t end);

}  // namespace karaffe::KARAFFE_SET
