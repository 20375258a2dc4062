// A photograph on which one pixel is picked, by a click or from the keyboard. No framework: the dashboard mounts it
// through Streamlit, notebooks through anywidget.
//
//   const picker = mountPicker(root);          // an element or a shadow root
//   picker.show({image, height, width, pixel, step, label}, (pixel) => ...);
//
// Pixels are [y, x] of the photograph itself, from 0, whatever the size at which it is displayed. `image` is a URL of
// it at any resolution; `step` is how far an arrow key moves (shift: one pixel). Call show() as often as you like: the
// mark only jumps when the `pixel` it is given is another than the one given before.

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
  .photo-picker-status { display: block; margin-top: 0.4em; font-size: 0.875em; }
`;
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const QUIET = 120; // milliseconds without a key before a pick from the keyboard is reported

export function mountPicker(root) {
  const parts = build(root);
  let state = null;
  let pixel = [0, 0];
  let report = () => {};
  let waiting;

  const draw = () => {
    const top = `${(100 * (pixel[0] + 0.5)) / state.height}%`;
    const left = `${(100 * (pixel[1] + 0.5)) / state.width}%`;
    Object.assign(parts.row.style, { top });
    Object.assign(parts.column.style, { left });
    Object.assign(parts.ring.style, { top, left });
    parts.status.textContent = `row ${pixel[0]}, column ${pixel[1]}`;
  };
  const pick = (y, x, delay) => {
    pixel = [clamp(y, state.height), clamp(x, state.width)];
    draw();
    clearTimeout(waiting);
    waiting = setTimeout(() => report(pixel), delay);
  };

  parts.photo.addEventListener("click", (event) => {
    const box = parts.photo.getBoundingClientRect();
    const y = ((event.clientY - box.top) / box.height) * state.height;
    const x = ((event.clientX - box.left) / box.width) * state.width;
    pick(Math.floor(y), Math.floor(x), 0);
  });
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
      state = next;
      if (parts.image.src !== next.image) parts.image.src = next.image;
      parts.photo.style.aspectRatio = `${next.width} / ${next.height}`;
      parts.photo.setAttribute("aria-label", next.label);
      if (String(next.pixel) !== given) pixel = next.pixel;
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
  const [row, column, ring] = ["row", "column", "ring"].map((name) => make("div", name, photo));
  const status = make("output", "photo-picker-status", root);
  status.setAttribute("aria-live", "polite");
  return { style, photo, image, row, column, ring, status };
}

function clamp(value, length) {
  return Math.min(Math.max(value, 0), length - 1);
}
