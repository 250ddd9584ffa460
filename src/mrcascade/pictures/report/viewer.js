// Viewer of a report: wipe or side by side, linked zoom, standard deviation as an overlay.
// Image coordinates are pixels of a plane as drawn; rows are stretched to the true aspect.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const KEPT = 40; // decoded pictures per view
  const PAGE = 10; // slices of a page key
  const STEP = 1.25, MOST = 32; // factor of a zoom step, largest zoom
  const GRIP = 10; // screen pixels on each side of the line that drag it
  const MAGMA = ["000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf"];
  const role = (name) => data.layers.filter((layer) => layer.role === name);
  const titles = Object.fromEntries(data.layers.map((layer) => [layer.key, layer.title]));
  const std = role("std")[0];
  const state = { layout: "wipe", wipe: 0.5, zoom: 1, std: false, opacity: 0.8, before: role("before")[0].key, after: role("after")[0].key };
  const colours = lookUp(MAGMA.map((hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16))));

  // Colours of 256 values, with an opacity that rises with the value.
  function lookUp(stops) {
    const table = new Uint8ClampedArray(1024);
    for (let v = 0; v < 256; v++) {
      const at = (v / 255) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
      for (let c = 0; c < 3; c++) table[4 * v + c] = stops[low][c] + (at - low) * (stops[low + 1][c] - stops[low][c]);
      table[4 * v + 3] = Math.min(255, 2 * v);
    }
    return table;
  }

  // The picture of a map in colours, as a canvas.
  function coloured(image) {
    const canvas = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set(colours.subarray(4 * pixels.data[i], 4 * pixels.data[i] + 4), i);
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  class View {
    constructor(planes, number, count) {
      this.planes = planes;
      this.share = count > 1 && number > 0 ? 0.5 : 1; // of the height
      this.at = planes.start;
      this.pan = [0, 0]; // of the image's centre, in image pixels
      this.kept = new Map();
      this.build();
    }

    build() {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      const { name, labels } = this.planes;
      this.canvas = document.createElement("canvas");
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "img");
      this.slider = document.createElement("input");
      Object.assign(this.slider, { type: "range", min: 0, max: labels.length - 1, value: this.at });
      this.slider.setAttribute("aria-label", `Slice of ${name}`);
      this.label = document.createElement("output");
      caption.append(this.slider, this.label);
      figure.append(this.canvas, caption);
      find("views").append(figure);
      this.context = this.canvas.getContext("2d");
      this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
      figure.addEventListener("focusin", () => (active = this));
      this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      this.canvas.addEventListener("pointerdown", (event) => this.press(event));
      this.canvas.addEventListener("dblclick", fit);
    }

    go(number) {
      this.at = Math.max(0, Math.min(this.planes.labels.length - 1, number));
      this.slider.value = this.at;
      this.label.textContent = this.planes.labels[this.at];
      this.slider.setAttribute("aria-valuetext", this.planes.labels[this.at]);
      this.show();
    }

    // The picture of a layer, decoded; equal slices stand as the number of the first.
    picture(key, number) {
      const list = this.planes.slices[key];
      while (typeof list[number] === "number") number = list[number];
      const name = `${key} ${number}`;
      if (!this.kept.has(name)) {
        const image = new Image();
        image.src = data.uri + list[number];
        const ready = image.decode().then(() => (std && key === std.key ? coloured(image) : image));
        this.kept.set(name, ready);
        if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
      }
      return this.kept.get(name);
    }

    async show() {
      const number = this.at, keys = [state.before, state.after, ...(state.std && std ? [std.key] : [])];
      const pictures = await Promise.all(keys.map((key) => this.picture(key, number)));
      if (number !== this.at) return; // a later slice is on its way
      this.pictures = pictures;
      this.draw();
      for (const next of [number + 1, number - 1]) if (this.planes.labels[next] !== undefined) keys.forEach((key) => this.picture(key, next));
    }

    resize() {
      const { rows, columns, aspect } = this.planes, width = this.canvas.clientWidth;
      const across = state.layout === "side" ? 2 * columns : columns;
      const most = this.share * Math.max(320, 0.74 * innerHeight);
      const height = Math.round(Math.min(most, (width * rows * aspect) / across));
      this.canvas.style.height = `${height}px`;
      this.canvas.width = Math.round(width * devicePixelRatio);
      this.canvas.height = Math.round(height * devicePixelRatio);
      this.draw();
    }

    // Centre, left and right of the panes before and after, in pixels of the canvas.
    panes() {
      const width = this.canvas.width, line = state.wipe * width;
      if (state.layout === "side") return [[width / 4, 0, width / 2], [0.75 * width, width / 2, width]];
      return [[width / 2, 0, line], [width / 2, line, width]];
    }

    get scale() {
      const { rows, columns, aspect } = this.planes, pane = state.layout === "side" ? 0.5 : 1;
      return state.zoom * Math.min((this.canvas.width * pane) / columns, this.canvas.height / (rows * aspect));
    }

    // Left, top, width and height of an image in the pane with this centre.
    place(centre) {
      const { rows, columns, aspect } = this.planes, across = this.scale, down = aspect * across;
      return [centre - (columns / 2 + this.pan[0]) * across, this.canvas.height / 2 - (rows / 2 + this.pan[1]) * down, columns * across, rows * down];
    }

    draw() {
      if (!this.pictures) return;
      const { context, canvas, planes, scale } = this;
      context.fillStyle = "#000";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = scale < 2.5 * devicePixelRatio; // beyond, pixels show
      context.imageSmoothingQuality = "high";
      this.panes().forEach(([centre, left, right], side) => {
        context.save();
        context.beginPath();
        context.rect(left, 0, right - left, canvas.height);
        context.clip();
        context.drawImage(this.pictures[side], ...this.place(centre));
        context.globalAlpha = state.opacity;
        if (state.std && this.pictures[2]) context.drawImage(this.pictures[2], ...this.place(centre));
        context.restore();
      });
      this.letters();
      canvas.dataset.drawn = `${this.at}`;
      canvas.setAttribute("aria-label", `${planes.labels[this.at]}: ${titles[state.before]} on the left, ${titles[state.after]} on the right`);
    }

    letters() {
      const { context, canvas } = this, unit = devicePixelRatio, edge = 8 * unit;
      const [left, right, top, bottom] = this.planes.edges, { width, height } = canvas;
      Object.assign(context, { lineWidth: 3 * unit, strokeStyle: "#000", fillStyle: "#fff" });
      const write = (text, x, y, align, base, size = 13, room = Infinity) => {
        Object.assign(context, { font: `${size * unit}px system-ui, sans-serif`, textAlign: align, textBaseline: base });
        while (text.length > 1 && context.measureText(text).width > room) text = `${text.slice(0, -2)}…`;
        context.strokeText(text, x, y);
        context.fillText(text, x, y);
      };
      const side = state.layout === "side";
      for (const [centre, l, r] of side ? this.panes() : [[width / 2, 0, width]]) {
        const [x, y, across, down] = this.place(centre);
        write(left, Math.max(l, x) + edge, height / 2, "left", "middle"); // at the image's edges, or the pane's
        write(right, Math.min(r, x + across) - edge, height / 2, "right", "middle");
        write(top, centre, Math.max(0, y) + 3 * edge, "center", "top"); // below the titles
        write(bottom, centre, Math.min(height, y + down) - edge, "center", "bottom");
      }
      const line = side ? width / 2 : state.wipe * width, room = width / 2 - 2 * edge;
      if (line > 0) write(titles[state.before], edge, edge, "left", "top", 12, room);
      if (line < width) write(titles[state.after], width - edge, edge, "right", "top", 12, room);
      context.fillStyle = "#58a6ff";
      if (line > 0 && line < width) context.fillRect(line - unit, 0, 2 * unit, height);
    }

    wheel(event) {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) zoomBy(event.deltaY < 0 ? STEP : 1 / STEP);
      else this.go(this.at + Math.sign(event.deltaY));
    }

    press(event) {
      active = this;
      this.canvas.setPointerCapture(event.pointerId);
      const box = this.canvas.getBoundingClientRect(), unit = devicePixelRatio;
      const wiping = state.layout === "wipe" && Math.abs(event.clientX - box.left - state.wipe * box.width) < GRIP;
      let last = [event.clientX, event.clientY];
      const move = (now) => {
        if (wiping) return setWipe((now.clientX - box.left) / box.width);
        this.pan[0] -= ((now.clientX - last[0]) * unit) / this.scale;
        this.pan[1] -= ((now.clientY - last[1]) * unit) / (this.scale * this.planes.aspect);
        last = [now.clientX, now.clientY];
        return this.draw();
      };
      const end = () => this.canvas.removeEventListener("pointermove", move);
      this.canvas.addEventListener("pointermove", move);
      ["pointerup", "pointercancel"].forEach((name) => this.canvas.addEventListener(name, end, { once: true }));
    }
  }

  const views = [];
  let active = null;
  const every = (work) => views.forEach(work);
  const redraw = () => every((view) => view.draw());

  function setWipe(share) {
    state.wipe = Math.max(0, Math.min(1, share));
    find("wipe").value = Math.round(100 * state.wipe);
    redraw();
  }

  function zoomBy(factor) {
    state.zoom = Math.max(1, Math.min(MOST, state.zoom * factor));
    if (state.zoom === 1) every((view) => (view.pan = [0, 0]));
    document.body.dataset.zoom = state.zoom.toFixed(3);
    redraw();
  }

  function setStd(on) {
    state.std = on && Boolean(std);
    find("std").checked = state.std;
    every((view) => view.show());
  }

  function setLayout(name) {
    state.layout = name;
    find("layout").value = name;
    find("wipe-label").hidden = name !== "wipe";
    every((view) => view.resize());
  }

  function flip() {
    setLayout("wipe");
    setWipe(state.wipe === 1 ? 0 : 1);
  }

  const by = (count) => () => active.go(active.at + count);
  const fit = () => zoomBy(1 / MOST);
  const closer = () => zoomBy(STEP), farther = () => zoomBy(1 / STEP);
  const KEYS = {
    ...{ ArrowRight: by(1), ArrowUp: by(1), ArrowLeft: by(-1), ArrowDown: by(-1), PageUp: by(PAGE), PageDown: by(-PAGE) },
    ...{ "+": closer, "=": closer, "-": farther, 0: fit, s: () => setStd(!state.std), " ": flip },
  };

  // Keys that a control understands itself stay with it.
  function taken(key, { type, tagName }) {
    if (key === " ") return /^(BUTTON|SELECT)$/.test(tagName) || type === "checkbox";
    return /^(Arrow|Page)/.test(key) && (type === "range" || tagName === "SELECT");
  }

  function choose(id) {
    const select = find(id);
    role(id).forEach((layer) => select.append(new Option(layer.title, layer.key)));
    select.disabled = select.options.length < 2;
    select.addEventListener("change", () => {
      state[id] = select.value;
      every((view) => view.show());
    });
  }

  function wire() {
    choose("before");
    choose("after");
    find("layout").addEventListener("change", (event) => setLayout(event.target.value));
    find("wipe").addEventListener("input", (event) => setWipe(event.target.value / 100));
    find("std").addEventListener("change", (event) => setStd(event.target.checked));
    find("opacity").addEventListener("input", (event) => {
      state.opacity = event.target.value / 100;
      redraw();
    });
    find("closer").addEventListener("click", closer);
    find("farther").addEventListener("click", farther);
    find("fit").addEventListener("click", fit);
    find("copy").addEventListener("click", () => getSelection().selectAllChildren(find("methods")) || document.execCommand("copy"));
    find("std-tools").hidden = !std;
    find("most-std").textContent = `${Number(data.mostStd.toPrecision(3))} ${data.unit}`;
    find("grey").textContent = `Grey scale ${data.window.map((end) => Number(end.toPrecision(4))).join(" to ")} ${data.unit}.`.replace("..", ".");
    addEventListener("resize", () => every((view) => view.resize()));
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS) || taken(event.key, event.target)) return;
      event.preventDefault();
      KEYS[event.key]();
    });
  }

  find("views").classList.toggle("several", data.views.length > 1);
  data.views.forEach((planes, number) => views.push(new View(planes, number, data.views.length)));
  active = views[0];
  wire();
  fit();
  setLayout("wipe");
  every((view) => view.go(view.at));
})();
