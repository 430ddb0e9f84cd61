// Pixels to maps. Every function takes and gives plain arrays or canvases and knows nothing of the page.

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function pixelsOf(image) {
  const canvas = canvasOf(image.naturalWidth ?? image.width, image.naturalHeight ?? image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Of a 16-bit picture, whose high and low bytes come as two pictures.
function joined(high, low) {
  const values = new Uint16Array(high.data.length);
  for (let i = 0; i < values.length; i++) values[i] = (high.data[i] << 8) | low.data[i];
  return values;
}

// BT.601 luma in counts of 255, of RGBA values up to `top`; of 8-bit pictures rounded as the strip does.
function lumaOf(values, top) {
  const luma = new Float32Array(values.length / 4);
  const scale = 255 / top;
  for (let i = 0, j = 0; i < luma.length; i++, j += 4) {
    const y = (0.299 * values[j] + 0.587 * values[j + 1] + 0.114 * values[j + 2]) * scale;
    luma[i] = top === 255 ? Math.floor(y + 0.5) : y;
  }
  return luma;
}

// The picture with `black` and below shown as black, `white` and above as white.
function windowed(values, width, height, black, white) {
  const canvas = canvasOf(width, height);
  const image = new ImageData(width, height);
  const scale = 255 / (white - black);
  for (let i = 0; i < values.length; i += 4) {
    for (let c = 0; c < 3; c++) image.data[i + c] = (values[i + c] - black) * scale;
    image.data[i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// The values below which one and 99 in a hundred of a picture's lie; a sample is enough.
function percentiles(values) {
  const sample = [];
  const step = 4 * Math.max(1, Math.floor(values.length / 400000));
  for (let i = 0; i < values.length; i += step) sample.push(values[i], values[i + 1], values[i + 2]);
  sample.sort((a, b) => a - b);
  const [low, high] = [0.01, 0.99].map((part) => sample[Math.floor(part * (sample.length - 1))]);
  return [low, Math.max(low + 1, high)];
}

// 256 colours between evenly spaced stops.
function paletteOf(stops) {
  const palette = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    const [r, g, b] = [0, 1, 2].map((c) =>
      Math.round(stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c])),
    );
    palette[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return palette;
}

function painted(width, height, palette, shade) {
  const canvas = canvasOf(width, height);
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i++) {
    words[i] = palette[Math.max(0, Math.min(255, Math.round(shade(i) * 255)))];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Separable Gaussian of 11 taps, sigma 1.5, with the border's pixel repeated.
function blurred(values, width, height) {
  const taps = Float32Array.from({ length: 11 }, (_, i) => Math.exp(-((i - 5) ** 2) / 4.5));
  const sum = taps.reduce((a, b) => a + b, 0);
  const across = new Float32Array(values.length);
  const line = new Float32Array(width + 10);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    line.set(values.subarray(row, row + width), 5);
    line.fill(values[row], 0, 5);
    line.fill(values[row + width - 1], width + 5);
    for (let x = 0; x < width; x++) {
      let total = 0;
      for (let t = 0; t < 11; t++) total += taps[t] * line[x + t];
      across[row + x] = total / sum;
    }
  }
  const result = new Float32Array(values.length);
  for (let y = 0; y < height; y++) {
    for (let t = 0; t < 11; t++) {
      const from = Math.max(0, Math.min(height - 1, y + t - 5)) * width;
      const weight = taps[t] / sum;
      for (let x = 0, i = y * width; x < width; x++, i++) result[i] += weight * across[from + x];
    }
  }
  return result;
}

// Local mean and mean of squares of a luma plane.
function momentsOf(luma, width, height) {
  return { mean: blurred(luma, width, height), square: blurred(luma.map((v) => v * v), width, height) };
}

// Local SSIM (Wang et al., 2004) of two luma planes, given their moments.
function ssimOf(x, y, mx, my, width, height) {
  const local = blurred(x.map((v, i) => v * y[i]), width, height);
  const [c1, c2] = [2.55 ** 2, 7.65 ** 2];
  for (let i = 0; i < local.length; i++) {
    const [a, b] = [mx.mean[i], my.mean[i]];
    const variances = mx.square[i] - a * a + my.square[i] - b * b;
    local[i] = ((2 * a * b + c1) * (2 * (local[i] - a * b) + c2)) / ((a * a + b * b + c1) * (variances + c2));
  }
  return local;
}

// In-place radix-2 Fourier transform of one line of `n` complex values.
function transform(real, imaginary, offset, step, n) {
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      const [a, b] = [offset + i * step, offset + j * step];
      [real[a], real[b]] = [real[b], real[a]];
      [imaginary[a], imaginary[b]] = [imaginary[b], imaginary[a]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let start = k; start < n; start += size) {
        const [a, b] = [offset + start * step, offset + (start + size / 2) * step];
        const [re, im] = [real[b] * cos - imaginary[b] * sin, real[b] * sin + imaginary[b] * cos];
        [real[b], imaginary[b]] = [real[a] - re, imaginary[a] - im];
        [real[a], imaginary[a]] = [real[a] + re, imaginary[a] + im];
      }
    }
  }
}

// Log amplitude of the largest power-of-two square in the middle, Hann window, zero frequency in the centre:
// checkerboards show as bright dots at the stride's frequencies.
function spectrumOf(luma, width, height) {
  const n = 2 ** Math.floor(Math.log2(Math.min(width, height, 512)));
  const [left, top] = [(width - n) >> 1, (height - n) >> 1];
  const [real, imaginary] = [new Float64Array(n * n), new Float64Array(n * n)];
  let mean = 0;
  for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) mean += luma[(y + top) * width + x + left] / (n * n);
  const hann = Float64Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / n));
  for (let y = 0; y < n; y++) {
    for (let x = 0; x < n; x++) {
      real[y * n + x] = (luma[(y + top) * width + x + left] - mean) * hann[x] * hann[y];
    }
  }
  for (let y = 0; y < n; y++) transform(real, imaginary, y * n, 1, n);
  for (let x = 0; x < n; x++) transform(real, imaginary, x, n, n);
  const top10 = Math.log10(255 * n * n * 0.01);
  return { n, shade: (i) => {
    const [x, y] = [((i % n) + n / 2) % n, (Math.floor(i / n) + n / 2) % n];
    const amplitude = Math.hypot(real[y * n + x], imaginary[y * n + x]);
    return (Math.log10(amplitude + 1e-9) - top10 + 4) / 4;
  } };
}
