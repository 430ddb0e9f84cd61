// What forward and backward of local attention share: the source rows in use, and the tiles of one row of centres.
#pragma once
#include "attention_tiles.hpp"

namespace karaffe::KARAFFE_SET {

// Calls visit.operator()<CV>(c) for blocks of CV vectors of channels from c on, then for smaller ones.
template <int CV, class T, class Visit>
KARAFFE_INLINE void in_blocks(int64_t c, int64_t channels, const Visit& visit) {
  for (; c + (CV - 1) * lanes<T> < channels; c += CV * lanes<T>) visit.template operator()<CV>(c);
  if constexpr (CV > 1)
    if (c < channels) in_blocks<CV / 2, T>(c, channels, visit);
}

template <class T>
class AttentionRows {
 public:
  explicit AttentionRows(const Attention& attention, const AttentionTensors<T>& tensors)
      : a(attention), t(tensors), tiles(attention), places(attention),
        keys(places, attention.axis[2].source, attention.key_channels),
        values(places, attention.axis[2].source, attention.value_channels),
        offsets_(3 * tiles.lists * tiles.slots), lists_(tiles.lists),
        rests_(tiles.lists * 4 * lanes<T>),
        query_(staged(a.key_channels)) {}
  explicit operator bool() const { return tiles && places && keys && values && offsets_ && lists_ && rests_ && query_; }

  // Channels that go through a tile together: some cache lines of each pixel, one after the other.
  static constexpr int64_t chunk = 256 / sizeof(T);
  // Scores of one block of targets.
  int64_t weights_pitch() const { return tiles.slots * most_targets<T>; }
  // Values of `channels` of all targets of a tile, pixel by pixel.
  int64_t staged(int64_t channels) const { return 4 * tiles.most_columns * padded_pitch<T>(channels); }

  // Reads source row (z, y) of key and value where it is not held yet; its place.
  int64_t hold(int64_t image, int64_t head, int64_t z, int64_t y) {
    const int64_t place = places.place(z, y), row = places.row(z, y), width = a.axis[2].source;
    if (places.held(place) == row) return place;
    places.held(place) = row;
    read_pixels(t.key, image, head * a.key_channels, a.key_channels, row * width, width, width, keys.row(place),
                keys.pitch);
    read_pixels(t.value, image, head * a.value_channels, a.value_channels, row * width, width, width,
                values.row(place), values.pitch);
    return place;
  }

  // Walks the targets of centre row (z, y): work.template tile<R>(rows, tile) for each group of rows and each tile,
  // with R at least the targets of a block.
  template <class Work>
  void walk(int64_t z, int64_t y, Work& work) {
    const WindowAxis &depth = a.axis[0], &height = a.axis[1];
    RowGroup group;
    for (int64_t tz = depth.first_target[z]; tz < depth.first_target[z + 1]; ++tz)
      for (int64_t ty = height.first_target[y]; ty < height.first_target[y + 1]; ++ty) {
        group.row[group.count++] = tz * height.target + ty;
        if (group.count == tiles.rows_at_once()) walk_group(group, work);
      }
    if (group.count) walk_group(group, work);
  }

  // The windows of centre row (z, y); `row_of` gives a source row's place in the rings.
  template <class RowOf>
  void open_windows(int64_t z, int64_t y, RowOf row_of) {
    for (int64_t n = 0; n < tiles.lists; ++n) {
      Taps& list = lists_.get()[n];
      list.key = offsets_.get() + 3 * n * tiles.slots;
      list.value = list.key + tiles.slots;
      list.number = list.value + tiles.slots;
    }
    tiles.list_taps(z, y, places.count(), keys.pitch, values.pitch, lists_.get(), row_of);
    for (int64_t n = 0; n < tiles.lists; ++n)
      for (int r = 1; r <= 4; r *= 2)
        for (int64_t l = 0; l < lanes<T>; ++l) {
          const int64_t used = lists_.get()[n].count * r % lanes<T>;
          rests_.get()[(n * 4 + r - 1) * lanes<T> + l] = used && l >= used ? -static_cast<T>(__builtin_inf()) : 0;
        }
  }
  // What is added to the last vector of a window's scores, so that what is beyond the last tap weighs nothing.
  template <int R>
  Vec<T> rest(const Window& w) const {
    return load(rests_.get() + ((w.taps - lists_.get()) * 4 + R - 1) * lanes<T>);
  }
  Window window(const Tile& tile, const Block& block) const {
    const int64_t x = tile.first + block.cell;
    return {lists_.get() + tiles.list_of(x), x};
  }

  // The bias of every tap of the window; null without.
  const T* bias(int64_t image, int64_t head) const {
    return t.bias ? t.bias + (image * a.heads + head) * a.window() : nullptr;
  }
  // The targets of a tile in a tensor: as they are where channels come last, else through `stage`.
  TargetRows<const T> read_targets(const Map<const T>& map, int64_t image, int64_t head, int64_t channels,
                                   const RowGroup& group, const Tile& tile, T* stage) const {
    TargetRows<const T> found{{}, map.channels_last ? map.channels : padded_pitch<T>(channels)};
    for (int i = 0; i < group.count; ++i) {
      const int64_t pixel = group.row[i] * a.axis[2].target + tile.column;
      T* to = stage + i * tile.columns * found.pitch;
      if (!map.channels_last)
        read_pixels(map, image, head * channels, channels, pixel, tile.columns, to_next(group, tile), to, found.pitch);
      found.row[i] = map.channels_last ? map.data + (image * map.pixels + pixel) * map.channels + head * channels : to;
    }
    return found;
  }
  // From a target of a tile to the same of the next one, in pixels.
  int64_t to_next(const RowGroup& group, const Tile& tile) const {
    const bool at_end = tile.last == a.axis[2].source;
    return at_end ? group.count * a.axis[2].target - tile.column : tile.columns;
  }
  TargetRows<const T> read_query(int64_t image, int64_t head, const RowGroup& group, const Tile& tile) {
    return read_targets(t.query, image, head, a.key_channels, group, tile, query_.get());
  }

  // result[target][channel] = sum over the taps of weight * pixel of the ring, into `map`; weights of block b at
  // weights + b * weights_pitch(); `stage` has room for a chunk of channels of a tile.
  template <int R, class Offsets>
  void mix_tile(const Map<T>& map, int64_t image, int64_t head, int64_t channels, const RowGroup& group,
                const Tile& tile, const T* weights, const PixelRows<T>& ring, Offsets offsets, T* stage) const {
    for (int64_t c = 0; c < channels; c += chunk) {
      const int64_t count = lesser(chunk, channels - c);
      TargetRows<T> to{{}, map.channels_last ? map.channels : chunk};
      for (int i = 0; i < group.count; ++i) {
        const int64_t pixel = group.row[i] * a.axis[2].target + tile.column;
        to.row[i] = map.channels_last ? map.data + (image * map.pixels + pixel) * map.channels + head * channels + c
                                      : stage + i * tile.columns * chunk;
        for (int64_t n = c; !map.channels_last && n < c + count; ++n)
          prefetch_to_write(map.data + (image * map.channels + head * channels + n) * map.pixels + pixel, tile.columns);
      }
      mix_chunk<R>(group, tile, weights, ring.data() + c, ring.pitch, offsets, to, count);
      for (int i = 0; !map.channels_last && i < group.count; ++i)
        write_pixels(map, image, head * channels + c, count, group.row[i] * a.axis[2].target + tile.column,
                     tile.columns, to.row[i], chunk);
    }
  }

  const Attention& a;
  const AttentionTensors<T>& t;
  Tiles<T> tiles;
  RowPlaces places;
  PixelRows<T> keys, values;

 private:
  template <class Work>
  void walk_group(RowGroup& group, Work& work) {
    const int64_t together = group.count * tiles.columns_at_a_time();
    for (Tile tile = tiles.next({}); tile.first < tile.last; tile = tiles.next(tile)) {
      if (!tile.columns) continue;
      if (together == 1) work.template tile<1>(group, tile);
      else if (together == 2) work.template tile<2>(group, tile);
      else if constexpr (most_targets<T> == 4) work.template tile<4>(group, tile);
    }
    group.count = 0;
  }

  template <int R, class Offsets>
  void mix_chunk(const RowGroup& group, const Tile& tile, const T* weights, const T* pixels, int64_t ring_pitch,
                 Offsets offsets, const TargetRows<T>& to, int64_t channels) const {
    constexpr int64_t ahead = 4;  // columns
    tiles.for_each_block(tile, [&](const Block& block, int64_t number) {
      const Window w = window(tile, block);
      const T* from = pixels + w.column * ring_pitch;
      for (int i = 0; i < group.count; ++i)
        for (int64_t j = 0; j < block.columns; ++j)
          prefetch_to_write(to.row[i] + (block.column + j + ahead) * to.pitch, channels);
      in_blocks<sums_at_once<T> / R, T>(0, channels, [&]<int CV>(int64_t c) {
        Vec<T> acc[R][CV];
        mix<R, CV>(weights + number * weights_pitch(), from + c, offsets(*w.taps), w.taps->count, acc);
        int r = 0;
        for (int i = 0; i < group.count; ++i)
          for (int64_t j = 0; j < block.columns; ++j, ++r)
            store_channels<CV>(to.row[i] + (block.column + j) * to.pitch + c, channels - c, acc[r]);
      });
    });
  }

  Scratch<int64_t> offsets_;
  Scratch<Taps> lists_;
  Scratch<T> rests_, query_;
};

// Pointers to the channels of a block's targets; what is left of R repeats the first.
template <int R, class T>
KARAFFE_INLINE int block_targets(const RowGroup& group, const Block& block, const TargetRows<const T>& rows,
                                 const T* (&target)[R]) {
  for (int n = 0; n < R; ++n) target[n] = rows.row[0] + block.column * rows.pitch;
  int r = 0;
  for (int i = 0; i < group.count; ++i)
    for (int64_t j = 0; j < block.columns; ++j) target[r++] = rows.row[i] + (block.column + j) * rows.pitch;
  return r;
}

}  // namespace karaffe::KARAFFE_SET
