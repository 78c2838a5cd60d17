// A mask of any size: strokes, undo by tiles, and a pyramid so that thin strokes show from afar.

const TILE = 256;

export class Mask {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    // Level k has a pixel for 2^k × 2^k of the mask's: 1 where any of them is.
    this.levels = [{ width, height, data: new Uint8Array(width * height) }];
    for (let w = width, h = height; w > 64 && h > 64; ) {
      [w, h] = [(w + 1) >> 1, (h + 1) >> 1];
      this.levels.push({ width: w, height: h, data: new Uint8Array(w * h) });
    }
    this.saved = new Map(); // tiles as they were before the change in progress
  }

  get data() {
    return this.levels[0].data;
  }

  isEmpty() {
    return !this.levels[this.levels.length - 1].data.includes(1);
  }

  // Sets all within `radius` of the line from a to b; returns the box that may have changed.
  stroke(a, b, radius, value) {
    const box = this.clip({
      left: Math.floor(Math.min(a.x, b.x) - radius), top: Math.floor(Math.min(a.y, b.y) - radius),
      right: Math.ceil(Math.max(a.x, b.x) + radius) + 1,
      bottom: Math.ceil(Math.max(a.y, b.y) + radius) + 1,
    });
    this.keep(box);
    const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
    const [nx, ny] = [(radius * (a.y - b.y)) / length, (radius * (b.x - a.x)) / length];
    const corners = [[a.x + nx, a.y + ny], [b.x + nx, b.y + ny], [b.x - nx, b.y - ny],
      [a.x - nx, a.y - ny]];
    for (let y = box.top; y < box.bottom; y++) {
      const middle = y + 0.5;
      let [left, right] = [Infinity, -Infinity];
      const reach = (x) => ([left, right] = [Math.min(left, x), Math.max(right, x)]);
      for (const end of [a, b]) {
        const half = radius * radius - (middle - end.y) ** 2;
        if (half >= 0) [end.x - Math.sqrt(half), end.x + Math.sqrt(half)].forEach(reach);
      }
      corners.forEach(([x0, y0], i) => {
        const [x1, y1] = corners[(i + 1) % 4];
        if (y0 <= middle !== y1 <= middle) reach(x0 + ((middle - y0) / (y1 - y0)) * (x1 - x0));
      });
      this.span(y, Math.ceil(left - 0.5), Math.floor(right - 0.5) + 1, value);
    }
    for (const end of [a, b]) this.span(Math.floor(end.y), Math.floor(end.x), Math.floor(end.x) + 1, value);
    this.refresh(box);
    return box;
  }

  span(y, left, right, value) {
    left = Math.max(left, 0);
    right = Math.min(right, this.width);
    if (y < 0 || y >= this.height || left >= right) return;
    this.data.fill(value, y * this.width + left, y * this.width + right);
  }

  // Replaces the whole mask by what `make(old value, index)` returns.
  replace(make) {
    this.keep(this.all());
    const data = this.data;
    for (let i = 0; i < data.length; i++) data[i] = make(data[i], i);
    this.refresh(this.all());
  }

  all() {
    return { left: 0, top: 0, right: this.width, bottom: this.height };
  }

  clip({ left, top, right, bottom }) {
    return { left: Math.max(left, 0), top: Math.max(top, 0), right: Math.min(right, this.width),
      bottom: Math.min(bottom, this.height) };
  }

  // Keeps the tiles of a box, as bits, unless they are kept already.
  keep(box) {
    const across = Math.ceil(this.width / TILE);
    for (let row = Math.floor(box.top / TILE); row * TILE < box.bottom; row++) {
      for (let column = Math.floor(box.left / TILE); column * TILE < box.right; column++) {
        const number = row * across + column;
        if (!this.saved.has(number)) this.saved.set(number, this.packTile(number));
      }
    }
  }

  tile(number) {
    const across = Math.ceil(this.width / TILE);
    const [left, top] = [(number % across) * TILE, Math.floor(number / across) * TILE];
    return this.clip({ left, top, right: left + TILE, bottom: top + TILE });
  }

  packTile(number) {
    const box = this.tile(number);
    const bits = new Uint8Array((TILE * TILE) / 8);
    for (let y = box.top, i = 0; y < box.bottom; y++) {
      for (let x = box.left; x < box.right; x++, i++) {
        if (this.data[y * this.width + x]) bits[i >> 3] |= 1 << (i & 7);
      }
    }
    return bits;
  }

  // Ends a change; returns a function that undoes it, and when called again redoes it.
  finish() {
    const tiles = this.saved;
    this.saved = new Map();
    return () => {
      for (const [number, bits] of tiles) {
        tiles.set(number, this.packTile(number));
        const box = this.tile(number);
        for (let y = box.top, i = 0; y < box.bottom; y++) {
          for (let x = box.left; x < box.right; x++, i++) {
            this.data[y * this.width + x] = (bits[i >> 3] >> (i & 7)) & 1;
          }
        }
        this.refresh(box);
      }
    };
  }

  // Brings the pyramid up to date in a box.
  refresh({ left, top, right, bottom }) {
    for (let k = 1; k < this.levels.length; k++) {
      const [below, level] = [this.levels[k - 1], this.levels[k]];
      [left, top] = [left >> 1, top >> 1];
      [right, bottom] = [Math.min((right + 1) >> 1, level.width), Math.min((bottom + 1) >> 1, level.height)];
      for (let y = top; y < bottom; y++) {
        const upper = 2 * y * below.width;
        const lower = Math.min(2 * y + 1, below.height - 1) * below.width;
        for (let x = left; x < right; x++) {
          const [x0, x1] = [2 * x, Math.min(2 * x + 1, below.width - 1)];
          const any = below.data[upper + x0] | below.data[upper + x1] | below.data[lower + x0] |
            below.data[lower + x1];
          level.data[y * level.width + x] = any;
        }
      }
    }
  }

  // Returns the mask as a PNG of one bit a pixel: a canvas of this size would need 32.
  async toPNG() {
    const stride = 1 + ((this.width + 7) >> 3);
    const rows = new Uint8Array(stride * this.height); // each begins with its filter, 0
    for (let y = 0, i = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, i++) {
        if (this.data[i]) rows[y * stride + 1 + (x >> 3)] |= 0x80 >> (x & 7);
      }
    }
    const stream = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
    const pixels = new Uint8Array(await new Response(stream).arrayBuffer());
    const head = new Uint8Array(13);
    const view = new DataView(head.buffer);
    view.setUint32(0, this.width);
    view.setUint32(4, this.height);
    head[8] = 1; // bit a pixel, gray
    const signature = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
    const parts = [signature, chunk("IHDR", head), chunk("IDAT", pixels), chunk("IEND", new Uint8Array(0))];
    return new Blob(parts, { type: "image/png" });
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function chunk(name, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < 8 + content.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  view.setUint32(8 + content.length, ~crc >>> 0);
  return bytes;
}
