// The page: tools, keys, and what happens to the one picture that is open.

import * as api from "./api.js";
import { Mask } from "./mask.js";
import { drawable, View } from "./view.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const view = new View(stage, $("picture"), $("masks"));
const LARGEST = 4000; // pixels of the brush
const STATES = { unknown: "Sending…", queued: "Waiting for its turn…", reading: "Reading, copying texture…",
  painting: "Painting…", writing: "Writing…" };
const SUFFIXES = { png: ["png"], jpeg: ["jpg", "jpeg"], webp: ["webp"], tiff: ["tif", "tiff"], bmp: ["bmp"] };

let file = null; // the picture as it is now: a Blob
let name = ""; // of the file that was opened
let limits = { pixels: 2 ** 26, bytes: 128e6 };
let saved = true;
let filling = null; // an AbortController
let history = { done: [], undone: [] }; // functions that undo, and when called again redo
let penSeen = false;

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

// Runs what a button or key asks for; what goes wrong is shown.
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
  update();
}

function update() {
  controls();
  view.redraw();
}

// Shows which buttons can be used, and what they are set to.
function controls() {
  const open = file !== null;
  const idle = open && !filling;
  for (const id of ["clear", "invert", "load", "out", "fit", "full", "in"]) $(id).disabled = !idle;
  $("undo").disabled = !idle || !history.done.length;
  $("redo").disabled = !idle || !history.undone.length;
  $("fill").disabled = !idle || view.masks.hole.isEmpty();
  $("save").disabled = !open;
  $("compare").disabled = !open || view.shown === view.before;
  if ($("compare").disabled) $("compare").checked = false;
  view.divide = $("compare").checked ? Number($("divide").value) : null;
  $("divide").hidden = $("divider").hidden = view.divide === null;
  $("divider").style.left = `${100 * (view.divide ?? 0)}%`;
  $("welcome").hidden = open;
  $("progress").hidden = $("cancel").hidden = !filling;
  stage.dataset.tool = tool();
  if (open) $("name").textContent = `${name} · ${view.shown.bitmap.width} × ${view.shown.bitmap.height}`;
}

const chosen = (group) => document.querySelector(`input[name="${group}"]:checked`).value;
const tool = () => chosen("tool");
function choose(group, value) {
  document.querySelector(`input[name="${group}"][value="${value}"]`).checked = true;
  update();
}

// ---- The picture

async function show(blob) {
  try {
    return await drawable(blob);
  } catch {
    return drawable(await api.preview(blob)); // TIFF and HEIC, which few browsers know
  }
}

async function open(blob) {
  if (filling) return;
  if (!saved && !confirm("The filled picture is not saved. Open another?")) return;
  if (blob.size > limits.bytes) throw new Error(`The file is larger than ${limits.bytes / 1e6} MB.`);
  say("Opening…");
  const shown = await show(blob);
  const { width, height } = shown.bitmap;
  if (width * height > limits.pixels) {
    throw new Error(`${width} × ${height} pixels are more than ${limits.pixels}, the most that is taken.`);
  }
  [file, name, saved] = [blob, blob.name ?? "picture.png", true];
  history = { done: [], undone: [] };
  view.shown = view.before = shown;
  view.masks = { hole: new Mask(width, height), avoid: new Mask(width, height) };
  setSize(Math.max(width, height) / 30);
  view.fit();
  say("Paint over what should go.");
}

function save() {
  const [, stem, own] = name.match(/^(.*?)(?:\.(\w+))?$/);
  const kind = file.type.replace("image/", "");
  const suffix = !kind || SUFFIXES[kind]?.includes(own?.toLowerCase()) ? own : SUFFIXES[kind]?.[0] ?? kind;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${stem}_filled.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  saved = true;
  say(`Saved as ${link.download}.`);
}

async function fill() {
  if (view.masks.hole.isEmpty()) throw new Error("Paint the hole first.");
  filling = new AbortController();
  update();
  try {
    const { hole, avoid } = view.masks;
    const fields = {
      image: file, mask: await hole.toPNG(), avoid: avoid.isEmpty() ? null : await avoid.toPNG(),
      grow: $("grow").value || "0", feather: $("feather").value || "0", deep: $("deep").value,
      checkpoint: $("checkpoint").value || null,
    };
    const begun = performance.now();
    const { blob, warnings } = await api.inpaint(fields, told, filling.signal);
    const before = { file, shown: view.shown };
    const after = { file: blob, shown: await show(blob) };
    hole.replace(() => 0);
    const mask = hole.finish();
    let current = before;
    const swap = () => {
      current = current === before ? after : before;
      ({ file } = current);
      view.shown = current.shown;
      saved = false;
    };
    swap();
    remember(() => (swap(), mask()));
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    say([`Filled in ${seconds} s.`, ...warnings].join(" "));
  } finally {
    filling = null;
  }
}

function told(state, done, total) {
  const bar = $("progress");
  if (state === "painting" && total) {
    bar.value = done / total;
    say(`Painting… ${done} of ${total}`);
  } else {
    bar.removeAttribute("value");
    say(STATES[state]);
  }
}

// ---- Masks

function remember(undo) {
  history.done.push(undo);
  history.undone = [];
  if (history.done.length > 200) history.done.shift();
}

function step(from, to) {
  const change = from.pop();
  change();
  to.push(change);
}

function change(edit) {
  const mask = view.masks[chosen("layer")];
  edit(mask);
  remember(mask.finish());
}

async function loadMask(blob) {
  const { bitmap } = await show(blob);
  const { width, height } = view.masks.hole;
  if (bitmap.width !== width || bitmap.height !== height) {
    throw new Error(`The mask is ${bitmap.width} × ${bitmap.height} pixels, the picture ${width} × ${height}.`);
  }
  const threshold = blob.type === "image/jpeg" ? 127 : 0; // as the server reads masks
  const rows = 256; // at a time: a canvas of 50 megapixels is more than some browsers have
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const loaded = new Uint8Array(width * height);
  for (let top = 0; top < height; top += rows) {
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const count = Math.min(rows, height - top) * width;
    const { data } = context.getImageData(0, 0, width, rows);
    for (let i = 0; i < count; i++) {
      const value = Math.max(data[4 * i], data[4 * i + 1], data[4 * i + 2]) * data[4 * i + 3];
      loaded[top * width + i] = value > threshold * 255 ? 1 : 0;
    }
  }
  change((mask) => mask.replace((_, i) => loaded[i]));
}

// ---- The brush

const brushSize = () => Math.round(LARGEST ** Number($("size").value));
function setSize(pixels) {
  $("size").value = Math.log(Math.min(Math.max(pixels, 1), LARGEST)) / Math.log(LARGEST);
  showSize();
}

function showSize() {
  $("sizeShown").textContent = `${brushSize()} px`;
  const side = Math.max((brushSize() * view.scale) / window.devicePixelRatio, 2);
  $("ring").style.width = $("ring").style.height = `${side}px`;
}

function moveRing(event) {
  const box = stage.getBoundingClientRect();
  showSize();
  const half = parseFloat($("ring").style.width) / 2;
  $("ring").hidden = !file || tool() === "pan" || event.pointerType === "touch" || $("compare").checked;
  $("ring").style.transform = `translate(${event.clientX - box.left - half}px, ${event.clientY - box.top - half}px)`;
}

const pointers = new Map(); // those that are down, by id
let stroke = null; // { mask, value, id, last }
let space = false;

function radius(event) {
  const pressed = event.pointerType === "pen" && event.pressure > 0;
  return (brushSize() / 2) * (pressed ? 0.25 + 0.75 * event.pressure : 1);
}

function paintTo(event) {
  for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
    const point = view.point(one);
    view.redraw(stroke.mask.stroke(stroke.last, point, radius(one), stroke.value));
    stroke.last = point;
  }
}

function endStroke(keep) {
  const undo = stroke.mask.finish();
  stroke = null;
  if (keep) remember(undo);
  else {
    undo();
    view.redraw();
  }
  controls();
}

stage.addEventListener("pointerdown", (event) => {
  if (!file || event.target.id === "divide") return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  penSeen ||= event.pointerType === "pen";
  if (pointers.size > 1 && stroke) endStroke(false); // a second finger: it is a pinch
  const palm = penSeen && event.pointerType === "touch";
  const paints = pointers.size === 1 && !palm && !space && !filling && tool() !== "pan" &&
    view.divide === null && (event.button === 0 || event.button === 5);
  if (!paints) return;
  const erases = tool() === "erase" || event.buttons & 32; // the other end of a pen
  const point = view.point(event);
  stroke = { mask: view.masks[chosen("layer")], value: erases ? 0 : 1, id: event.pointerId, last: point };
  paintTo(event);
});

stage.addEventListener("pointermove", (event) => {
  moveRing(event);
  const last = pointers.get(event.pointerId);
  if (!last) return;
  if (stroke?.id === event.pointerId) paintTo(event);
  else if (!stroke) {
    const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
    view.pan((event.clientX - last.clientX) / pointers.size, (event.clientY - last.clientY) / pointers.size);
    if (other) {
      const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
      view.zoom(distance(event) / Math.max(distance(last), 1), middle);
    }
  }
  pointers.set(event.pointerId, event);
});

for (const kind of ["pointerup", "pointercancel"]) {
  stage.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    if (stroke?.id === event.pointerId) endStroke(kind === "pointerup");
  });
}
stage.addEventListener("pointerleave", () => ($("ring").hidden = true));
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey) view.pan(-(event.deltaX || event.deltaY), 0);
  else view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event);
  moveRing(event);
}, { passive: false });

// ---- Buttons, keys and files

function click(id) {
  const element = $(id);
  if (!element.disabled) element.click();
}

const KEYS = [
  ["Ctrl+O", "Open a photograph (or drop or paste one)", () => click("open")],
  ["Ctrl+S", "Save", () => click("save")],
  ["F", "Fill", () => click("fill")],
  ["Escape", "Cancel filling", () => click("cancel")],
  ["B", "Brush", () => choose("tool", "brush")],
  ["E", "Erase", () => choose("tool", "erase")],
  ["H", "Pan (or hold Space, or drag with two fingers)", () => choose("tool", "pan")],
  ["[", "Smaller brush", () => setSize(Math.min(brushSize() - 1, brushSize() / 1.2))],
  ["]", "Larger brush", () => setSize(Math.max(brushSize() + 1, brushSize() * 1.2))],
  ["1", "Paint the hole", () => choose("layer", "hole")],
  ["2", "Paint what texture is not copied from", () => choose("layer", "avoid")],
  ["Ctrl+Z", "Undo", () => click("undo")],
  ["Ctrl+Shift+Z", "Redo (or Ctrl+Y)", () => click("redo")],
  ["Delete", "Clear the mask", () => click("clear")],
  ["I", "Invert the mask", () => click("invert")],
  ["L", "Load a mask", () => click("load")],
  ["+", "Zoom in (or the wheel)", () => click("in")],
  ["-", "Zoom out", () => click("out")],
  ["0", "Fit into the window", () => click("fit")],
  ["9", "One pixel to one pixel", () => click("full")],
  ["C", "Compare before and after", () => click("compare")],
  ["M", "Show or hide the mask", () => click("shown")],
  ["Arrows", "Move the picture", null],
  ["?", "These shortcuts", () => click("help")],
];
for (const [keys, text] of KEYS) {
  const [term, meaning] = [document.createElement("dt"), document.createElement("dd")];
  [term.textContent, meaning.textContent] = [keys, text];
  document.querySelector("#shortcuts dl").append(term, meaning);
}
const ARROWS = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };

document.addEventListener("keydown", (event) => {
  const writing = event.target.matches("input:not([type=radio], [type=checkbox], .unseen), select");
  const control = event.ctrlKey || event.metaKey;
  if ($("shortcuts").open || (writing && !control && event.key !== "Escape")) return;
  if (event.key === " " && event.target === stage) {
    space = true;
    event.preventDefault();
    return;
  }
  if (event.key in ARROWS && event.target === stage) {
    event.preventDefault();
    view.pan(...ARROWS[event.key]);
    return;
  }
  if (event.altKey) return;
  let pressed = event.key.length === 1 ? event.key.toUpperCase() : event.key;
  if (control) pressed = `Ctrl+${event.shiftKey ? "Shift+" : ""}${pressed}`;
  pressed = { "Ctrl+Y": "Ctrl+Shift+Z", "=": "+", Backspace: "Delete" }[pressed] ?? pressed;
  const found = KEYS.find(([keys, , action]) => keys === pressed && action);
  if (!found) return;
  event.preventDefault();
  attempt(found[2]);
});
document.addEventListener("keyup", (event) => {
  if (event.key === " ") space = false;
});

const buttons = {
  save, fill,
  undo: () => step(history.done, history.undone),
  redo: () => step(history.undone, history.done),
  clear: () => change((mask) => mask.replace(() => 0)),
  invert: () => change((mask) => mask.replace((value) => 1 - value)),
  in: () => view.zoom(1.5),
  out: () => view.zoom(1 / 1.5),
  fit: () => view.fit(),
  full: () => view.zoom(1 / view.scale),
  cancel: () => (filling?.abort(), say("Canceled.")),
  help: () => $("shortcuts").showModal(),
};
for (const [id, action] of Object.entries(buttons)) $(id).addEventListener("click", () => attempt(action));
$("shown").addEventListener("change", () => ((view.showMasks = $("shown").checked), update()));
for (const id of ["compare", "divide"]) $(id).addEventListener("input", update);
for (const group of document.querySelectorAll("input[type=radio]")) group.addEventListener("change", update);
$("size").addEventListener("input", showSize);
for (const [id, action] of [["open", open], ["load", loadMask]]) {
  $(id).addEventListener("change", async ({ target }) => {
    const [blob] = target.files;
    target.value = "";
    if (blob) await attempt(() => action(blob));
  });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("over");
});
document.addEventListener("dragleave", () => stage.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  const [blob] = event.dataTransfer.files;
  if (blob) attempt(() => open(blob));
});
document.addEventListener("paste", (event) => {
  const blob = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (blob) attempt(() => open(blob));
});
window.addEventListener("beforeunload", (event) => {
  if (!saved) event.preventDefault();
});

await attempt(async () => {
  update();
  showSize();
  const listed = await api.models();
  limits = listed.limits;
  for (const { name } of listed.models) $("checkpoint").add(new Option(name));
  $("model").hidden = listed.models.length < 2;
});
