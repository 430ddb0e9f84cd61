// How the kernels of local attention walk their targets. A row of centres (all targets whose centre is in one source
// row) is walked a few target rows at a time, and these in tiles of some cells: a cell is the targets of one centre.
// Targets of a cell share its window, and go through the arithmetic in blocks of R.
#pragma once
#include "attention_blocks.hpp"
#include "attention_rings.hpp"

namespace karaffe::KARAFFE_SET {

// Target rows that are walked together.
struct RowGroup {
  int64_t row[4];
  int count = 0;
};

// Cells first … last-1 of a row of centres, and the target columns they hold.
struct Tile {
  int64_t first, last, column, columns;
};

// The part of the arithmetic that goes at once: columns column … column+columns-1 of a tile, in all rows of a group.
struct Block {
  int64_t cell;  // counted from the tile's first
  int64_t column, columns;
};

// Where targets of a tile are: column c of row i of the group at row[i] + c * pitch.
template <class T>
struct TargetRows {
  T* row[4];
  int64_t pitch;
};

// The taps of a window, as offsets in the rings from the window's column: windows that differ by their place
// alone share one list. The list goes on with taps outside, to whole blocks of sums.
struct Taps {
  int64_t *key, *value, *number;
  int64_t count;
};
struct Window {
  const Taps* taps;
  int64_t column;
};

template <class T>
class Tiles {
 public:
  static constexpr int64_t weights_at_once = 4096;  // of a tile: they stay in the first cache
  static constexpr int64_t columns_at_once = 64;

  explicit Tiles(const Attention& a)
      : a_(a), axis_(a.axis[2]), slots(round_up(a.tap_count, sums_at_once<T>)), taps_(3 * a.tap_count),
        row_offset_(a.tap_count), list_(a.axis[2].source) {
    for (int64_t x = 0; x < axis_.source; ++x) widest_ = greater(widest_, columns(x));
    if (!taps_ || !row_offset_ || !list_) return;
    for (int64_t x = 0; x < axis_.source; ++x) list_.get()[x] = x && same_but_moved(x) ? list_.get()[x - 1] : lists++;
    for (int64_t n = 0; n < a.tap_count; ++n) {
      const int64_t tap = a.taps[n], height = a.axis[1].taps, width = axis_.taps;
      const int64_t place[] = {tap / (height * width), tap / width % height, tap % width};
      for (int d = 0; d < 3; ++d) taps_.get()[3 * n + d] = place[d];
    }
    for (Tile tile = next({}); tile.first < tile.last; tile = next(tile)) {
      most_columns = greater(most_columns, tile.columns);
      most_cells = greater(most_cells, tile.last - tile.first);
      most_blocks = greater(most_blocks, blocks_of(tile));
    }
  }
  explicit operator bool() const { return taps_ && row_offset_ && list_; }

  // Rows that go together: as many as make a full block of the widest cell's columns.
  int64_t rows_at_once() const {
    return widest_ >= most_targets<T> ? 1 : widest_ == 1 ? most_targets<T> : widest_ == 2 ? most_targets<T> / 2 : 1;
  }
  // Columns of a cell that go together.
  int64_t columns_at_a_time() const { return widest_ > 2 ? most_targets<T> : widest_ == 2 ? 2 : 1; }

  // The tile after `tile`; empty at the end of the row.
  Tile next(const Tile& tile) const {
    Tile found{tile.last, tile.last, tile.column + tile.columns, 0};
    int64_t weights = 0;
    for (; found.last < axis_.source; ++found.last) {
      const int64_t count = columns(found.last);
      weights += blocks(count) * most_targets<T> * slots;
      const bool full = weights > weights_at_once || found.columns + count > columns_at_once;
      if (full && found.last > found.first) break;
      found.columns += count;
    }
    return found;
  }

  // Calls visit(Block, its number) for the blocks of a tile.
  template <class Visit>
  KARAFFE_INLINE void for_each_block(const Tile& tile, Visit visit) const {
    int64_t number = 0, column = 0;
    for (int64_t x = tile.first; x < tile.last; ++x) {
      const int64_t end = column + columns(x);
      for (; column < end; column += columns_at_a_time())
        visit(Block{x - tile.first, column, lesser(columns_at_a_time(), end - column)}, number++);
      column = end;
    }
  }

  // The taps of centre row (z, y): list n, of `lists`, at to[n]; `row_of` gives a source row's place in the rings, and
  // the row `outside_row` holds what taps outside read.
  template <class RowOf>
  void list_taps(int64_t z, int64_t y, int64_t outside_row, int64_t key_pitch, int64_t value_pitch, Taps* to,
                 RowOf row_of) const {
    const WindowAxis &depth = a_.axis[0], &height = a_.axis[1];
    for (int64_t n = 0; n < a_.tap_count; ++n) {
      const int64_t* tap = taps_.get() + 3 * n;
      const int64_t qz = depth.reads[z * depth.taps + tap[0]], qy = height.reads[y * height.taps + tap[1]];
      row_offset_.get()[n] = qz == outside || qy == outside ? outside : row_of(qz, qy) * axis_.source;
    }
    for (int64_t x = 0; x < axis_.source; ++x)
      if (!x || list_.get()[x] != list_.get()[x - 1])
        list_taps_of(x, outside_row * axis_.source, key_pitch, value_pitch, to[list_.get()[x]]);
  }
  int64_t list_of(int64_t x) const { return list_.get()[x]; }

  int64_t columns(int64_t x) const { return axis_.first_target[x + 1] - axis_.first_target[x]; }

 private:
  // Whether the window of centre x is the one of x-1, a column further.
  bool same_but_moved(int64_t x) const {
    const int64_t *now = axis_.reads + x * axis_.taps, *before = now - axis_.taps;
    for (int64_t j = 0; j < axis_.taps; ++j)
      if (now[j] == outside || before[j] == outside || now[j] != before[j] + 1) return false;
    return true;
  }

  void list_taps_of(int64_t x, int64_t outside_pixel, int64_t key_pitch, int64_t value_pitch, Taps& to) const {
    to.count = 0;
    for (int64_t n = 0; n < a_.tap_count; ++n) {
      const int64_t qx = axis_.reads[x * axis_.taps + taps_.get()[3 * n + 2]], row = row_offset_.get()[n];
      const bool absent = row == outside || qx == outside;
      if (absent && a_.masked) continue;
      const int64_t pixel = absent ? outside_pixel : row + qx - x;
      to.number[to.count] = a_.taps[n];
      to.key[to.count] = pixel * key_pitch;
      to.value[to.count++] = pixel * value_pitch;
    }
    for (int64_t n = to.count; n < slots; ++n) {
      to.key[n] = outside_pixel * key_pitch;
      to.value[n] = outside_pixel * value_pitch;
    }
  }

  int64_t blocks(int64_t columns) const { return (columns + columns_at_a_time() - 1) / columns_at_a_time(); }
  int64_t blocks_of(const Tile& tile) const {
    int64_t count = 0;
    for (int64_t x = tile.first; x < tile.last; ++x) count += blocks(columns(x));
    return count;
  }

  const Attention& a_;
  const WindowAxis& axis_;
  int64_t widest_ = 1;

 public:
  const int64_t slots;  // taps rounded up to whole blocks of sums
  int64_t lists = 0;                                          // of taps, in a row of centres
  int64_t most_columns = 0, most_cells = 0, most_blocks = 0;  // of any tile

 private:
  Scratch<int64_t> taps_, row_offset_, list_;
};

}  // namespace karaffe::KARAFFE_SET
