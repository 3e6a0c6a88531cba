"use strict";
// The viewer of a report: a divider between reference and result, an exposure slider, the uncertainty as an overlay.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("viewer-data").textContent);
  const { width, height, lowEv, stepsPerEv } = data;
  const pixels = width * height;
  const stage = byId("stage");
  const slider = { split: byId("split"), exposure: byId("exposure"), opacity: byId("opacity") };
  let toneMapped = true;
  let redraw = 0;

  async function bytesOf(id) {
    const packed = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Undoes pictures.py: low and high bytes, zigzag, gradient predictor.
  async function unpack(id, count) {
    const bytes = await bytesOf(id);
    const planes = [];
    for (let plane = 0; plane < count; plane++) {
      const values = new Int32Array(pixels);
      for (let i = 0; i < pixels; i++) {
        const at = plane * pixels + i;
        const code = bytes[at] | (bytes[at + count * pixels] << 8);
        const left = i % width ? values[i - 1] : 0;
        const above = i >= width ? values[i - width] : 0;
        const corner = i % width && i >= width ? values[i - width - 1] : 0;
        values[i] = ((code >>> 1) ^ -(code & 1)) + left + above - corner;
      }
      planes.push(values);
    }
    return planes;
  }

  async function unpackLight(id) {
    const [green, red, blue] = await unpack(id, 3);
    for (let i = 0; i < pixels; i++) {
      red[i] += green[i];
      blue[i] += green[i];
    }
    return [red, green, blue];
  }

  const lightOf = (code) => (code ? 2 ** (lowEv + (code - 1) / stepsPerEv) : 0);

  function srgb(light) {
    const value = light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, value));
  }

  function drawLight(canvas, planes, ev) {
    const table = Uint8Array.from({ length: data.codes }, (_, code) => srgb(lightOf(code) * 2 ** ev));
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const out = image.data;
    const [red, green, blue] = planes;
    for (let i = 0, at = 0; i < pixels; i++, at += 4) {
      out[at] = table[red[i]];
      out[at + 1] = table[green[i]];
      out[at + 2] = table[blue[i]];
      out[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  async function drawPicture(canvas, id) {
    const picture = byId(id);
    await picture.decode();
    canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
  }

  function drawUncertainty(indices) {
    const context = byId("overlay").getContext("2d");
    const image = context.createImageData(width, height);
    for (let i = 0; i < pixels; i++) {
      for (let channel = 0; channel < 3; channel++) image.data[4 * i + channel] = data.colours[3 * indices[i] + channel];
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    const bar = byId("bar").getContext("2d");
    const strip = bar.createImageData(256, 1);
    for (let i = 0; i < 256; i++) strip.data.set([...data.colours.slice(3 * i, 3 * i + 3), 255], 4 * i);
    bar.putImageData(strip, 0, 0);
    for (const [, label] of data.sigma.ticks) {
      const tick = document.createElement("span");
      tick.textContent = label;
      byId("ticks").append(tick);
    }
  }

  const signed = (ev) => `${ev < 0 ? "−" : "+"}${Math.abs(ev).toFixed(2)} EV`;

  function show(light) {
    const before = byId("before");
    const ev = Number(slider.exposure.value);
    byId("tone").setAttribute("aria-pressed", String(toneMapped));
    byId("exposure-value").textContent = toneMapped ? "tone-mapped" : signed(ev);
    if (slider.split) {
      stage.style.setProperty("--split", `${slider.split.value}%`);
      byId("split-value").textContent = `${slider.split.value} %`;
    } else {
      stage.style.setProperty("--split", "0%");
    }
    byId("overlay").style.opacity = Number(slider.opacity.value) / 100;
    byId("opacity-value").textContent = slider.opacity.value === "0" ? "off" : `${slider.opacity.value} %`;
    byId("legend").hidden = slider.opacity.value === "0";
    const wanted = toneMapped ? "tone" : ev;
    if (show.drawn === wanted) return Promise.resolve();
    show.drawn = wanted;
    if (toneMapped) {
      return Promise.all([
        drawPicture(byId("after"), "preview-picture"),
        before && drawPicture(before, "camera-picture"),
      ]);
    }
    drawLight(byId("after"), light.result, ev);
    if (before) drawLight(before, light.reference, ev);
    return Promise.resolve();
  }

  function probe(light, sigma, event) {
    const box = stage.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const i = y * width + x;
    const brightest = Math.max(...light.result.map((plane) => lightOf(plane[i])));
    const { min, max } = data.sigma;
    const uncertainty = min * (max / min) ** (sigma[i] / 255);
    const ev = brightest ? `${signed(Math.log2(brightest))} from the reference's clip` : "black";
    byId("probe").textContent = `Here: ${ev}, uncertainty ${uncertainty.toPrecision(2)}`;
  }

  function connect(light, sigma) {
    const update = () => {
      cancelAnimationFrame(redraw);
      redraw = requestAnimationFrame(() => show(light));
    };
    const move = (input, steps) => {
      if (!input) return;
      input.value = Number(input.value) + steps * Number(input.step);
      input.dispatchEvent(new Event("input"));
    };
    slider.exposure.addEventListener("input", () => {
      toneMapped = false;
      update();
    });
    slider.opacity.addEventListener("input", update);
    slider.split?.addEventListener("input", update);
    byId("tone").addEventListener("click", () => {
      toneMapped = !toneMapped;
      update();
    });
    const actions = {
      t: () => byId("tone").click(),
      u: () => {
        slider.opacity.value = slider.opacity.value === "0" ? 75 : 0;
        update();
      },
      "+": () => move(slider.exposure, 2),
      "=": () => move(slider.exposure, 2),
      "-": () => move(slider.exposure, -2),
      "[": () => move(slider.split, -5),
      "]": () => move(slider.split, 5),
    };
    document.addEventListener("keydown", (event) => {
      const action = actions[event.key.toLowerCase()];
      if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      action();
    });
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      if (!slider.split) return;
      slider.split.value = (100 * (event.clientX - box.left)) / box.width;
      update();
    };
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      drag(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (stage.hasPointerCapture(event.pointerId)) drag(event);
      probe(light, sigma, event);
    });
    return show(light);
  }

  async function start() {
    const light = { result: await unpackLight("radiance-light") };
    if (slider.split) light.reference = await unpackLight("reference-light");
    const [sigma] = await unpack("uncertainty-indices", 1);
    drawUncertainty(sigma);
    await connect(light, sigma);
    document.documentElement.dataset.ready = "true";
  }

  start().catch((error) => {
    byId("failure").textContent = `The pictures cannot be shown in this browser (${error.message}). It needs Chrome 80, Firefox 113, Safari 16.4 or later.`;
    byId("failure").hidden = false;
  });
})();
