"use strict";
// Drawing by WebGL 2: points behind, the sphere as a veil or a coloured surface, points in front.
(function () {
  const POINTS = `#version 300 es
    in vec3 position;
    in float level;
    uniform mat3 turn;
    uniform vec2 scale;
    uniform float size, radius, side;
    out float depth;
    flat out float shade;
    void main() {
      vec3 p = turn * position * radius;
      depth = p.z;
      shade = level;
      // Only one side is drawn at a time; the other is put outside of the picture.
      gl_Position = side * p.z < 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(p.xy * scale, -0.4 * p.z, 1.0);
      gl_PointSize = size * (1.0 + 0.18 * p.z);
    }`;
  const DISCS = `#version 300 es
    precision highp float;
    in float depth;
    flat in float shade;
    uniform vec3 color, rim;
    uniform float mode, size, ball;
    uniform sampler2D values;
    out vec4 result;
    void main() {
      float r = 2.0 * length(gl_PointCoord - 0.5);
      float edge = 2.0 / size;
      float cover = 1.0 - smoothstep(1.0 - edge, 1.0, r);
      if (cover < 0.02) { discard; }
      vec3 fill = mode < 0.5 ? color : texelFetch(values, ivec2(int(shade + 0.5), 0), 0).rgb;
      float inside = size < 5.0 ? 0.0 : smoothstep(0.72, 0.72 + edge, r);
      float alpha = ball > 0.5 ? mix(0.25, 0.95, smoothstep(-0.8, 0.8, depth)) : depth < 0.0 ? 0.5 : 0.95;
      alpha *= cover;
      result = vec4(mix(fill, rim, 0.8 * inside) * alpha, alpha);
    }`;
  const QUAD = `#version 300 es
    in vec2 corner;
    uniform vec2 scale;
    out vec2 place;
    void main() { place = corner / scale; gl_Position = vec4(corner, 0.0, 1.0); }`;
  // The sphere as a mesh: cheap enough for a computer without a graphics card.
  const MESH = `#version 300 es
    in vec2 corner;  // longitude and colatitude as shares of the whole, or for a circle longitude and radius
    uniform mat3 turn;
    uniform vec2 scale;
    uniform float flatten;
    out vec2 at;
    out vec2 height;  // towards the viewer; along the third axis
    const float PI = 3.14159265358979;
    void main() {
      float longitude = 2.0 * PI * corner.x, colatitude = PI * corner.y;
      vec3 round = vec3(sin(colatitude) * vec2(cos(longitude), sin(longitude)), cos(colatitude));
      vec3 level = vec3(mix(0.85, 0.94, corner.y) * vec2(cos(longitude), sin(longitude)), 0.0);
      vec3 world = flatten > 0.5 ? level : round;
      vec3 p = turn * world;
      at = corner;
      height = vec2(p.z, world.z);
      gl_Position = vec4(p.xy * scale, -0.4 * p.z, 1.0);
    }`;
  const FACE = `#version 300 es
    precision highp float;
    in vec2 at;
    in vec2 height;
    uniform vec3 ink, ground;
    uniform float pixel, colored, flatten;
    uniform sampler2D surface;
    out vec4 result;
    void main() {
      if (flatten > 0.5) { result = vec4(texture(surface, vec2(at.x, 0.5)).rgb, 1.0); return; }
      float limb = 1.0 - height.x;
      float alpha = colored > 0.5 ? 0.80 : 0.60;
      vec3 face = colored > 0.5 ? texture(surface, at).rgb : ground;
      face = mix(face, ink, (colored > 0.5 ? 0.10 : 0.15) * limb * limb);
      // Lines of longitude and latitude, 30 degrees apart.
      vec2 off = abs(fract(at * vec2(12.0, 6.0) + 0.5) - 0.5) * 0.5235988;
      off.x *= sqrt(max(1.0 - height.y * height.y, 0.0));
      if (abs(height.y) > 0.985) { off.x = 1.0; }
      float line = 1.0 - smoothstep(0.6 * pixel, 1.8 * pixel, min(off.x, off.y));
      face = mix(face, ink, 0.13 * line * height.x);
      result = vec4(face * alpha, alpha);
    }`;
  const ACROSS = 96, DOWN = 48;

  // Triangles of a grid of the unit square.
  function grid(across, down) {
    const corners = [], triangles = [];
    for (let j = 0; j <= down; j++) {
      for (let i = 0; i <= across; i++) { corners.push(i / across, j / down); }
    }
    for (let j = 0; j < down; j++) {
      for (let i = 0; i < across; i++) {
        const a = j * (across + 1) + i, b = a + across + 1;
        triangles.push(a, b, a + 1, a + 1, b, b + 1);
      }
    }
    return { corners: new Float32Array(corners), triangles: new Uint16Array(triangles) };
  }

  function program(gl, vertex, fragment) {
    const made = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) { throw new Error(gl.getShaderInfoLog(shader)); }
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) { throw new Error(gl.getProgramInfoLog(made)); }
    const names = gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS);
    const at = {};
    for (let i = 0; i < names; i++) {
      const name = gl.getActiveUniform(made, i).name;
      at[name] = gl.getUniformLocation(made, name);
    }
    return { made, at, attribute: (name) => gl.getAttribLocation(made, name) };
  }

  function texture(gl, filter, wrap) {
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, wrap);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    return made;
  }

  function cloudBuffers(gl, points, cloud) {
    const array = gl.createVertexArray(), positions = gl.createBuffer(), levels = gl.createBuffer();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, positions);
    gl.bufferData(gl.ARRAY_BUFFER, 8 * cloud.n, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(points.attribute("position"));
    gl.vertexAttribPointer(points.attribute("position"), 3, gl.SHORT, true, 8, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, levels);
    gl.bufferData(gl.ARRAY_BUFFER, cloud.n, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(points.attribute("level"));
    gl.vertexAttribPointer(points.attribute("level"), 1, gl.UNSIGNED_BYTE, false, 1, 0);
    return { array, positions, levels };
  }

  // A function that draws the run on the canvas, or null without WebGL 2.
  flow.glPainter = function (canvas, run, scene) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: false, premultipliedAlpha: true });
    if (!gl) { return null; }
    const points = program(gl, POINTS, DISCS), globe = program(gl, MESH, FACE);
    const buffers = run.clouds.map((cloud) => cloudBuffers(gl, points, cloud));
    const mesh = grid(ACROSS, scene.kind === "circle" ? 1 : DOWN), array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, mesh.corners, gl.STATIC_DRAW);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.triangles, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(globe.attribute("corner"));
    gl.vertexAttribPointer(globe.attribute("corner"), 2, gl.FLOAT, false, 0, 0);
    const textures = {
      surface: texture(gl, gl.LINEAR, gl.REPEAT),
      values: texture(gl, gl.NEAREST, gl.CLAMP_TO_EDGE),
    };
    const size = flow.pointSize(run);
    const last = {};

    function upload(state) {
      if (last.frame !== state.frame || last.mode !== state.mode) {
        buffers.forEach(function (buffer, i) {
          gl.bindBuffer(gl.ARRAY_BUFFER, buffer.positions);
          gl.bufferSubData(gl.ARRAY_BUFFER, 0, run.clouds[i].frames[state.frame]);
          const levels = state.mode < 0 ? null : run.fields[state.mode][i];
          if (!levels) { return; }
          gl.bindBuffer(gl.ARRAY_BUFFER, buffer.levels);
          gl.bufferSubData(gl.ARRAY_BUFFER, 0, levels[state.frame]);
        });
      }
      const levels = run.surface && run.surface[state.frame];
      if (levels && (last.levels !== levels || last.theme !== state.theme)) {
        const { columns, rows } = scene.surface;
        const colors = new Uint8Array(4 * rows * columns);
        levels.forEach((level, i) => colors.set(state.theme.surface.subarray(4 * level, 4 * level + 4), 4 * i));
        gl.bindTexture(gl.TEXTURE_2D, textures.surface);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, columns, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, colors);
        last.levels = levels;
      }
      if (last.theme !== state.theme) {
        gl.bindTexture(gl.TEXTURE_2D, textures.values);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, state.theme.values);
      }
      Object.assign(last, { frame: state.frame, mode: state.mode, theme: state.theme });
    }

    const unit = (color) => color.map((value) => value / 255);

    function drawPoints(state, scale, side) {
      const { at } = points;
      gl.useProgram(points.made);
      gl.uniformMatrix3fv(at.turn, true, state.turn.flat());
      gl.uniform2f(at.scale, ...scale);
      gl.uniform1f(at.side, side);
      gl.uniform1f(at.ball, scene.kind === "ball" ? 1 : 0);
      gl.uniform3f(at.rim, ...unit(state.theme.ground));
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, textures.values);
      gl.uniform1i(at.values, 0);
      const pixels = size * Math.min(Math.sqrt(state.zoom), 2) * state.ratio;
      gl.uniform1f(at.size, pixels);
      gl.enable(gl.DEPTH_TEST);
      buffers.forEach(function (buffer, i) {
        const numbers = state.mode >= 0;
        const some = numbers && run.fields[state.mode][i];
        gl.uniform1f(at.mode, some ? 1 : 0);
        gl.uniform3f(at.color, ...unit(numbers ? [...state.theme.values.subarray(4 * 255, 4 * 255 + 3)] : state.theme.clouds[i % state.theme.clouds.length]));
        gl.uniform1f(at.radius, flow.radius(scene.kind, i));
        gl.bindVertexArray(buffer.array);
        gl.drawArrays(gl.POINTS, 0, run.clouds[i].n);
      });
      gl.disable(gl.DEPTH_TEST);
    }

    function drawGlobe(state, scale) {
      const { at } = globe;
      gl.useProgram(globe.made);
      gl.uniformMatrix3fv(at.turn, true, state.turn.flat());
      gl.uniform2f(at.scale, ...scale);
      gl.uniform3f(at.ink, ...unit(state.theme.ink));
      gl.uniform3f(at.ground, ...unit(state.theme.ground));
      gl.uniform1f(at.pixel, 2 / (canvas.height * scale[1]));
      gl.uniform1f(at.colored, run.surface ? 1 : 0);
      gl.uniform1f(at.flatten, scene.kind === "circle" ? 1 : 0);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, textures.surface);
      gl.uniform1i(at.surface, 0);
      if (scene.kind === "sphere") { gl.enable(gl.CULL_FACE); }
      gl.frontFace(gl.CCW);
      gl.bindVertexArray(array);
      gl.drawElements(gl.TRIANGLES, mesh.triangles.length, gl.UNSIGNED_SHORT, 0);
      gl.disable(gl.CULL_FACE);
    }

    return function (state) {
      if (gl.isContextLost()) { return; }
      upload(state);
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      const scale = flow.scale(canvas, state.zoom);
      if (scene.kind === "sphere") { drawPoints(state, scale, -1); }
      if (scene.kind === "sphere" || run.surface) { drawGlobe(state, scale); }
      drawPoints(state, scale, scene.kind === "sphere" ? 1 : 0);
    };
  };
})();
