"use strict";
// The page's scripts share this object; each file adds the functions of one idea.
const flow = {};

// Compressed bytes in base64, as ctflow/viewing/packing.py writes them.
flow.bytes = async function (text) {
  const binary = atob(text);
  const packed = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) { packed[i] = binary.charCodeAt(i); }
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

// Positions as integers: for each frame 4 per particle (x, y, z, unused), which a GPU reads fastest.
flow.positions = async function (cloud, frames) {
  const n = cloud.n, size = frames * 3 * n;
  const bytes = await flow.bytes(cloud.data);
  const all = Array.from({ length: frames }, () => new Int16Array(4 * n));
  let at = 0;
  for (let frame = 0; frame < frames; frame++) {
    const now = all[frame], before = frame ? all[frame - 1] : null;
    for (let axis = 0; axis < 3; axis++) {
      for (let i = axis; i < 4 * n; i += 4, at++) {
        const step = bytes[at] | (bytes[size + at] << 8);
        now[i] = before ? before[i] + step : step;  // wraps around as 16-bit integers do
      }
    }
  }
  return all;
};

// Levels 0 … 254 (255: no number) for each frame; one stored frame stands for all.
flow.levels = async function (field, frames) {
  if (!field) { return null; }
  const bytes = await flow.bytes(field.data);
  const size = bytes.length / field.frames;
  for (let i = size; i < bytes.length; i++) { bytes[i] += bytes[i - size]; }
  return Array.from({ length: frames }, function (_, frame) {
    const start = Math.min(frame, field.frames - 1) * size;
    return bytes.subarray(start, start + size);
  });
};

flow.decoded = async function (scene) {
  const runs = [];
  for (const run of scene.runs) {
    const frames = run.clock.length;
    const clouds = [], fields = [];
    for (const cloud of run.clouds) {
      clouds.push({ n: cloud.n, frames: await flow.positions(cloud, frames) });
    }
    for (const parts of run.fields) {
      fields.push(await Promise.all(parts.map((part) => flow.levels(part, frames))));
    }
    runs.push({ ...run, clouds, fields, surface: await flow.levels(run.surface, frames) });
  }
  return runs;
};
