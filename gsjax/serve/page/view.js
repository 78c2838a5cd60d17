// What is seen of the picture and its masks: zoom, pan, and the two canvases of the stage.

const PREVIEW = 2048; // pixels of the longer side of the copy that is drawn when zoomed out
const COLORS = { hole: [226, 32, 92], avoid: [32, 110, 226] };

export class View {
  constructor(stage, pictureCanvas, maskCanvas) {
    this.stage = stage;
    this.canvases = [pictureCanvas, maskCanvas];
    this.picture = pictureCanvas.getContext("2d");
    this.overlay = maskCanvas.getContext("2d");
    this.scale = 1; // device pixels to a pixel of the picture
    this.left = this.top = 0; // of the picture, in device pixels
    this.divide = null; // 0 to 1: before is shown left of it
    this.showMasks = true;
    this.shown = this.before = this.masks = null;
    this.stale = null; // the box of the masks to draw again; "all" with the picture
    new ResizeObserver(() => this.resize()).observe(stage);
  }

  resize() {
    const ratio = window.devicePixelRatio;
    for (const canvas of this.canvases) {
      canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    }
    if (this.fitted) this.fit();
    this.redraw();
  }

  get size() {
    return [this.canvases[0].width, this.canvases[0].height];
  }

  fit() {
    if (!this.shown) return;
    const [width, height] = this.size;
    const { width: w, height: h } = this.shown.bitmap;
    this.scale = Math.min(width / w, height / h, 8) * 0.96;
    this.left = (width - w * this.scale) / 2;
    this.top = (height - h * this.scale) / 2;
    this.fitted = true;
    this.redraw();
  }

  // Zooms by a factor about a point of the stage, its middle if there is none.
  zoom(factor, at) {
    if (!this.shown) return;
    const [width, height] = this.size;
    const [x, y] = at ? this.device(at) : [width / 2, height / 2];
    const least = Math.min(1, 32 / Math.max(this.shown.bitmap.width, this.shown.bitmap.height));
    const scale = Math.min(Math.max(this.scale * factor, least), 64);
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.redraw();
  }

  pan(dx, dy) {
    this.left += dx * window.devicePixelRatio;
    this.top += dy * window.devicePixelRatio;
    this.fitted = false;
    this.redraw();
  }

  device(event) {
    const box = this.stage.getBoundingClientRect();
    const ratio = window.devicePixelRatio;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  // Returns where an event is in the picture.
  point(event) {
    const [x, y] = this.device(event);
    return { x: (x - this.left) / this.scale, y: (y - this.top) / this.scale };
  }

  // Draws everything, or what masks show in a box of the picture, with the next frame.
  redraw(box) {
    if (this.stale === null) requestAnimationFrame(() => this.draw());
    if (!box || this.stale === "all") this.stale = "all";
    else if (!this.stale) this.stale = { ...box };
    else {
      this.stale.left = Math.min(this.stale.left, box.left);
      this.stale.top = Math.min(this.stale.top, box.top);
      this.stale.right = Math.max(this.stale.right, box.right);
      this.stale.bottom = Math.max(this.stale.bottom, box.bottom);
    }
  }

  draw() {
    const [width, height] = this.size;
    const stale = this.stale;
    this.stale = null;
    if (stale === "all") this.drawPicture(width, height);
    if (!this.shown) return;
    let box = [0, 0, width, height];
    if (stale !== "all") {
      box = [stale.left * this.scale + this.left - 1, stale.top * this.scale + this.top - 1,
        stale.right * this.scale + this.left + 1, stale.bottom * this.scale + this.top + 1];
    }
    const [x0, y0] = [Math.max(0, Math.floor(box[0])), Math.max(0, Math.floor(box[1]))];
    const [x1, y1] = [Math.min(width, Math.ceil(box[2])), Math.min(height, Math.ceil(box[3]))];
    if (x0 < x1 && y0 < y1) this.drawMasks(x0, y0, x1, y1);
  }

  drawPicture(width, height) {
    const context = this.picture;
    context.clearRect(0, 0, width, height);
    if (!this.shown) return;
    this.drawOne(this.shown, width, height);
    if (this.divide !== null) this.drawOne(this.before, this.divide * width, height);
  }

  drawOne({ bitmap, preview }, width, height) {
    const context = this.picture;
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height);
    context.clip();
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = this.scale < 3;
    context.imageSmoothingQuality = "high";
    const small = preview && this.scale * bitmap.width <= preview.width;
    const box = [this.left, this.top, bitmap.width * this.scale, bitmap.height * this.scale];
    context.drawImage(small ? preview : bitmap, ...box);
    context.restore();
  }

  // Draws the masks into a box of the stage, a pixel at a time: sharp at every zoom.
  drawMasks(x0, y0, x1, y1) {
    if (!this.showMasks || !this.masks || this.divide !== null) {
      this.overlay.clearRect(x0, y0, x1 - x0, y1 - y0);
      return;
    }
    const image = new ImageData(x1 - x0, y1 - y0);
    const pixels = new Uint32Array(image.data.buffer);
    const wanted = Math.max(0, Math.floor(Math.log2(1 / this.scale)));
    for (const name of ["avoid", "hole"]) {
      const mask = this.masks[name];
      const k = Math.min(wanted, mask.levels.length - 1);
      const { width, height, data } = mask.levels[k];
      const step = 1 / (this.scale * 2 ** k);
      const columns = Int32Array.from({ length: x1 - x0 }, (_, i) => {
        const x = Math.floor((x0 + i + 0.5 - this.left) * step);
        return x < width ? Math.max(x, -1) : -1;
      });
      const [r, g, b] = COLORS[name];
      const [light, dark] = [150, name === "avoid" ? 220 : 150].map((a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0);
      for (let y = y0; y < y1; y++) {
        const row = Math.floor((y + 0.5 - this.top) * step);
        if (row < 0 || row >= height) continue;
        for (let i = 0, at = (y - y0) * (x1 - x0); i < columns.length; i++, at++) {
          if (columns[i] < 0 || !data[row * width + columns[i]]) continue;
          pixels[at] = (x0 + i + y) & 8 ? light : dark; // what is to be avoided is hatched
        }
      }
    }
    this.overlay.putImageData(image, x0, y0);
  }
}

// Returns a picture as it is drawn, and a smaller copy if it is large.
export async function drawable(blob) {
  const bitmap = await createImageBitmap(blob);
  const factor = PREVIEW / Math.max(bitmap.width, bitmap.height);
  if (factor >= 1) return { bitmap, preview: null };
  const resizeWidth = Math.max(1, Math.round(bitmap.width * factor));
  return { bitmap, preview: await createImageBitmap(bitmap, { resizeWidth, resizeQuality: "high" }) };
}
