// A photograph on which one pixel or a box is picked, by a click, a drag or from the keyboard. No framework: the
// dashboard mounts it through Streamlit, notebooks through anywidget.
//
//   const picker = mountPicker(root);          // an element or a shadow root
//   picker.show({image, height, width, pixel, step, label, box, drag, regions}, (pixel, box) => ...);
//
// Pixels are [y, x] of the photograph itself, from 0, whatever the size at which it is displayed. `image` is a URL of
// it at any resolution; `step` is how far an arrow key moves (shift: one pixel). Where `drag` is true a drag picks a
// `box` [top, left, bottom, right], ends included, whose middle is the pixel; a click or key picks no box (null).
// `regions` {map, texts}: `map` is the URL of a PNG of the photograph's size whose red and green hold a region's number
// (red + 256 green, 0 for none), shown bright under the pointer with texts[number]; the picked pixel's one stays so.
// Call show() as often as you like: the mark only jumps when the `pixel` it is given is another than before.

const STYLE = `
  .photo-picker { position: relative; cursor: crosshair; user-select: none; touch-action: manipulation;
    border-radius: 4px; overflow: hidden; }
  .photo-picker:focus-visible { outline: 3px solid var(--st-primary-color, #0072b2); outline-offset: 2px; }
  .photo-picker img { display: block; width: 100%; height: 100%; pointer-events: none; }
  .photo-picker div { position: absolute; pointer-events: none; box-sizing: border-box; }
  .photo-picker .row, .photo-picker .column { background: #fff; box-shadow: 0 0 0 1px rgba(0, 0, 0, 0.55);
    opacity: 0.75; }
  .photo-picker .row { left: 0; width: 100%; height: 1px; }
  .photo-picker .column { top: 0; height: 100%; width: 1px; }
  .photo-picker .ring { width: 17px; height: 17px; margin: -8.5px; border: 2px solid #fff; border-radius: 50%;
    box-shadow: 0 0 0 1.5px #000, inset 0 0 0 1.5px #000; }
  .photo-picker canvas { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none;
    image-rendering: pixelated; }
  .photo-picker .box { border: 2px solid #fff; box-shadow: 0 0 0 1px #000, inset 0 0 0 1px #000; }
  .photo-picker .tip { background: rgba(0, 0, 0, 0.82); color: #fff; padding: 0.25em 0.5em; border-radius: 4px;
    font-size: 0.8125em; white-space: pre; z-index: 1; }
  .photo-picker [hidden] { display: none; }
  .photo-picker-status { display: block; margin-top: 0.4em; font-size: 0.875em; }
`;
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const QUIET = 120; // milliseconds without a key before a pick from the keyboard is reported

const DRAG = 4; // pixels of the screen from which on a move is a drag

export function mountPicker(root) {
  const parts = build(root);
  const regions = regionsOf(parts);
  let state = null;
  let pixel = [0, 0];
  let box = null;
  let pressed = null;
  let report = () => {};
  let waiting;

  const draw = () => {
    const top = `${(100 * (pixel[0] + 0.5)) / state.height}%`;
    const left = `${(100 * (pixel[1] + 0.5)) / state.width}%`;
    Object.assign(parts.row.style, { top });
    Object.assign(parts.column.style, { left });
    Object.assign(parts.ring.style, { top, left });
    for (const part of [parts.row, parts.column, parts.ring]) part.hidden = Boolean(box);
    parts.box.hidden = !box;
    if (box) {
      const [y0, x0, y1, x1] = box;
      const shares = { top: y0 / state.height, left: x0 / state.width };
      Object.assign(shares, { height: (y1 + 1 - y0) / state.height, width: (x1 + 1 - x0) / state.width });
      for (const [side, share] of Object.entries(shares)) parts.box.style[side] = `${100 * share}%`;
    }
    parts.status.textContent = box
      ? `rows ${box[0]} to ${box[2]}, columns ${box[1]} to ${box[3]}`
      : `row ${pixel[0]}, column ${pixel[1]}`;
    regions.pick(pixel);
  };
  const pick = (y, x, delay, region = null) => {
    pixel = [clamp(y, state.height), clamp(x, state.width)];
    box = region;
    draw();
    clearTimeout(waiting);
    waiting = setTimeout(() => report(pixel, box), delay);
  };
  const place = (event) => {
    const shown = parts.photo.getBoundingClientRect();
    const y = Math.floor(((event.clientY - shown.top) / shown.height) * state.height);
    const x = Math.floor(((event.clientX - shown.left) / shown.width) * state.width);
    return [clamp(y, state.height), clamp(x, state.width)];
  };
  const dragged = (event) => {
    const far = Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) >= DRAG;
    const [[y0, x0], [y1, x1]] = [place(pressed), place(event)];
    return far ? [Math.min(y0, y1), Math.min(x0, x1), Math.max(y0, y1), Math.max(x0, x1)] : null;
  };

  parts.photo.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pressed = event;
    parts.photo.setPointerCapture(event.pointerId);
  });
  parts.photo.addEventListener("pointermove", (event) => {
    const region = pressed && state.drag ? dragged(event) : null;
    if (region) {
      box = region;
      draw();
    }
    regions.hover(pressed ? null : place(event));
  });
  parts.photo.addEventListener("pointerleave", () => regions.hover(null));
  parts.photo.addEventListener("pointerup", (event) => {
    if (!pressed) return;
    const region = state.drag ? dragged(event) : null;
    pressed = null;
    if (region) pick((region[0] + region[2]) >> 1, (region[1] + region[3]) >> 1, 0, region);
    else pick(...place(event), 0);
  });
  parts.photo.addEventListener("pointercancel", () => (pressed = null));
  parts.photo.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault(); // the page must not scroll
    const step = event.shiftKey ? 1 : state.step;
    pick(pixel[0] + step * move[0], pixel[1] + step * move[1], QUIET);
  });

  return {
    show(next, onPick) {
      report = onPick;
      const given = state && String(state.pixel);
      const [boxed, known] = [state && String(state.box), state];
      state = next;
      if (parts.image.src !== next.image) parts.image.src = next.image;
      parts.photo.style.aspectRatio = `${next.width} / ${next.height}`;
      parts.photo.setAttribute("aria-label", next.label);
      if (String(next.pixel) !== given || String(next.box) !== boxed) [pixel, box] = [next.pixel, next.box || null];
      regions.show(next, known, () => regions.pick(pixel));
      draw();
    },
    destroy() {
      clearTimeout(waiting);
      parts.style.remove();
      parts.photo.remove();
      parts.status.remove();
    },
  };
}

// Regions of the photograph that light up: under the pointer, and that of the picked pixel.
function regionsOf(parts) {
  let [numbers, texts, height, width] = [null, [], 0, 0];
  let [picked, hovered] = [0, 0];

  const at = ([y, x]) => (numbers ? numbers[4 * (y * width + x)] + 256 * numbers[4 * (y * width + x) + 1] : 0);
  const paint = () => {
    const context = parts.lit.getContext("2d");
    const pixels = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const number = numbers[4 * i] + 256 * numbers[4 * i + 1];
      if (number && (number === picked || number === hovered)) pixels.data.set([255, 255, 255, 110], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
  };
  return {
    show(next, known, then) {
      const map = next.regions && next.regions.map;
      texts = next.regions ? next.regions.texts : [];
      if (map === (known && known.regions && known.regions.map)) return;
      [numbers, picked, hovered] = [null, 0, 0];
      [height, width] = [next.height, next.width];
      Object.assign(parts.lit, { height, width });
      if (!map) return;
      const image = new Image();
      image.onload = () => {
        const canvas = Object.assign(document.createElement("canvas"), { height, width });
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        numbers = context.getImageData(0, 0, width, height).data;
        then();
      };
      image.src = map;
    },
    pick(pixel) {
      if (!numbers || at(pixel) === picked) return;
      picked = at(pixel);
      paint();
    },
    hover(pixel) {
      if (!numbers) return;
      const number = pixel ? at(pixel) : 0;
      parts.tip.hidden = !number;
      if (number) {
        const right = pixel[1] > width / 2;
        parts.tip.textContent = texts[number] || "";
        Object.assign(parts.tip.style, { top: `${(100 * pixel[0]) / height}%` });
        Object.assign(parts.tip.style, {
          left: right ? "auto" : `calc(${(100 * pixel[1]) / width}% + 14px)`,
          right: right ? `calc(${100 - (100 * pixel[1]) / width}% + 14px)` : "auto",
        });
      }
      if (number === hovered) return;
      hovered = number;
      paint();
    },
  };
}

function build(root) {
  const make = (tag, className, parent) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    parent.appendChild(element);
    return element;
  };
  const style = make("style", "", root);
  style.textContent = STYLE;
  const photo = make("div", "photo-picker", root);
  photo.tabIndex = 0;
  photo.setAttribute("role", "application"); // arrow keys go to the photograph, not to a screen reader's cursor
  const image = make("img", "", photo);
  image.alt = "";
  const lit = make("canvas", "", photo);
  const [row, column, ring, box, tip] = ["row", "column", "ring", "box", "tip"].map((name) => make("div", name, photo));
  tip.hidden = true;
  const status = make("output", "photo-picker-status", root);
  status.setAttribute("aria-live", "polite");
  return { style, photo, image, lit, row, column, ring, box, tip, status };
}

function clamp(value, length) {
  return Math.min(Math.max(value, 0), length - 1);
}
