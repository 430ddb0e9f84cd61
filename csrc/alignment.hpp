// Which source pixel lies under a target.
#pragma once
#include "problem.hpp"

namespace karaffe {

// Source index under target y, in integer arithmetic: no size is large enough to round wrongly.
int64_t centre(int64_t y, int64_t source, int64_t target, Alignment alignment);

}  // namespace karaffe
