// The viewer's behaviour. Gradio runs it once with `element`, `props` and `watch`; `props.value` is the scene (see
// scene.py), `props.facts` the measurements (see quantities.py), `props.chosen` a cell chosen elsewhere; all JSON text.
const find = (name) => element.querySelector(".viewer-" + name);
const stage = find("stage"), svg = find("svg"), image = find("image"), layer = find("cells"), tip = find("tip");
const state = { scene: null, facts: null, paths: [], chosen: -1, box: [0, 0, 1, 1] };
const parsed = (text) => (text ? JSON.parse(text) : null);
const node = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const many = (count, what) => count.toLocaleString("en") + " " + what + (count === 1 ? "" : "s");

function drawScene() {
  const before = state.scene;
  state.scene = parsed(props.value);
  const scene = state.scene, other = !scene || !before || before.href !== scene.href;
  const kept = other || state.chosen < 0 ? "" : before.cells[state.chosen]?.d;
  readFacts();
  element.querySelector(".viewer").dataset.state = !scene ? "empty" : scene.searched ? "searched" : "waiting";
  find("name").textContent = scene ? scene.name : "";
  find("count").textContent = !scene ? "" : scene.searched ? many(scene.cells.length, "cell") : "not searched yet";
  find("legend").replaceChildren(...(scene ? scene.types.map(legendEntry) : []));
  if (other) showImage(scene);
  drawCells(scene ? scene.cells : []);
  choose(kept ? scene.cells.findIndex((cell) => cell.d === kept) : -1);
}

function legendEntry(type) {
  const entry = node("li", type.name + " ");
  entry.style.setProperty("--type", type.colour);
  entry.append(node("b", type.count.toLocaleString("en")));
  return entry;
}

function showImage(scene) {
  if (!scene) return image.removeAttribute("href");
  for (const [name, value] of [["width", scene.width], ["height", scene.height], ["href", scene.href]]) {
    image.setAttribute(name, value);
  }
  // a long and narrow image has empty space beside it, so that there is room to see it in when it is zoomed
  stage.style.setProperty("--ratio", Math.min(4, Math.max(0.4, scene.width / scene.height)));
  look([0, 0, scene.width, scene.height]);
}

function drawCells(cells) {
  state.paths = cells.map((cell, number) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", cell.d);
    path.setAttribute("stroke", state.scene.types[cell.type].colour);
    path.dataset.number = number;
    return path;
  });
  layer.replaceChildren(...state.paths);
}

// ---- which cell -------------------------------------------------------------------------------------------------
function readFacts() { // measurements follow the scene a moment later
  const facts = parsed(props.facts);
  state.facts = facts && state.scene && facts.key === state.scene.key ? facts : null;
}

function factsOf(number) {
  if (state.facts) return state.facts.titles.map((title, at) => [title, state.facts.rows[number][at]]);
  const cell = state.scene.cells[number];
  return [["Type", state.scene.types[cell.type].name], ["Confidence", cell.score.toFixed(2)]];
}

function fill(list, facts) {
  list.replaceChildren(...facts.flatMap(([title, value]) => {
    const pair = document.createElement("div");
    pair.append(node("dt", title), node("dd", value || "no"));
    return [pair];
  }));
}

function choose(number) {
  state.paths[state.chosen]?.classList.remove("chosen");
  state.chosen = number;
  const path = state.paths[number], panel = find("facts");
  panel.hidden = !path;
  if (!path) return;
  path.classList.add("chosen");
  layer.append(path);
  fill(panel, factsOf(number));
}

function pointAt(event) {
  const number = event.target.dataset?.number;
  tip.hidden = number === undefined || event.pointerType === "touch";
  if (tip.hidden) return;
  const list = document.createElement("dl"), room = stage.getBoundingClientRect();
  fill(list, factsOf(+number).slice(0, 6));
  tip.replaceChildren(list);
  const x = event.clientX - room.left, y = event.clientY - room.top;
  tip.style.left = Math.min(x + 14, room.width - tip.offsetWidth - 6) + "px";
  tip.style.top = (y + 14 + tip.offsetHeight > room.height ? y - 10 - tip.offsetHeight : y + 14) + "px";
}

const middle = (cell) => [(cell.box[0] + cell.box[2]) / 2, (cell.box[1] + cell.box[3]) / 2];

function step(right, down) {
  const cells = state.scene?.cells ?? [];
  if (!cells.length) return;
  const [x, y] = state.chosen < 0 ? [state.box[0], state.box[1]] : middle(cells[state.chosen]);
  let best = -1, least = Infinity;
  cells.forEach((cell, number) => {
    if (number === state.chosen) return;
    const [dx, dy] = [middle(cell)[0] - x, middle(cell)[1] - y];
    const ahead = state.chosen < 0 ? 1 : dx * right + dy * down;
    const cost = dx * dx + dy * dy + (state.chosen < 0 ? 0 : 3 * (dx * down + dy * right) ** 2);
    if (ahead > 0 && cost < least) [best, least] = [number, cost];
  });
  if (best >= 0) { choose(best); bringIntoView(cells[best]); }
}

function bringIntoView(cell) {
  const [left, top, width, height] = state.box, [x, y] = middle(cell);
  if (x < left || y < top || x > left + width || y > top + height) look([x - width / 2, y - height / 2, width, height]);
}

// ---- zoom and move ----------------------------------------------------------------------------------------------
function look([left, top, width, height]) {
  const scene = state.scene;
  if (!scene) return;
  const share = Math.min(1, Math.max(width / scene.width, 16 / Math.max(scene.width, scene.height)));
  const size = [scene.width * share, scene.height * share];
  // around the middle of what was asked for, where that was too small or too large
  left = Math.min(Math.max(left + (width - size[0]) / 2, 0), scene.width - size[0]);
  top = Math.min(Math.max(top + (height - size[1]) / 2, 0), scene.height - size[1]);
  [width, height] = size;
  state.box = [left, top, width, height];
  svg.setAttribute("viewBox", state.box.join(" "));
  stage.classList.toggle("close", Math.min(svg.clientWidth / width, svg.clientHeight / height) > 4);
  stage.classList.toggle("zoomed", share < 1);
}

function inImage(clientX, clientY) {
  const matrix = svg.getScreenCTM();
  return matrix ? new DOMPoint(clientX, clientY).matrixTransform(matrix.inverse()) : { x: 0, y: 0 };
}

function zoom(factor, clientX, clientY) {
  const room = svg.getBoundingClientRect(), [left, top, width, height] = state.box;
  const at = inImage(clientX ?? room.left + room.width / 2, clientY ?? room.top + room.height / 2);
  look([at.x - (at.x - left) / factor, at.y - (at.y - top) / factor, width / factor, height / factor]);
}

const fit = () => state.scene && look([0, 0, state.scene.width, state.scene.height]);
const pointers = new Map();
let moved = 0;

function pointerMoves(event) {
  const last = pointers.get(event.pointerId);
  if (!last) return pointAt(event);
  const others = [...pointers.values()].filter((pointer) => pointer !== last), now = [event.clientX, event.clientY];
  moved += Math.abs(now[0] - last[0]) + Math.abs(now[1] - last[1]);
  if (others.length) {
    const apart = (point) => Math.hypot(point[0] - others[0][0], point[1] - others[0][1]);
    zoom(apart(now) / Math.max(apart(last), 1), (now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2);
  } else {
    const [from, to, [left, top, width, height]] = [inImage(...last), inImage(...now), state.box];
    look([left + from.x - to.x, top + from.y - to.y, width, height]);
  }
  pointers.set(event.pointerId, now);
}

stage.addEventListener("pointerdown", (event) => {
  if (!pointers.size) moved = 0;
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
});
stage.addEventListener("pointermove", pointerMoves);
for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
  stage.addEventListener(name, (event) => { pointers.delete(event.pointerId); tip.hidden = tip.hidden || name !== "pointerup"; });
}
stage.addEventListener("click", (event) => {
  if (moved < 6) choose(Number(event.target.dataset?.number ?? -1));
});
stage.addEventListener("wheel", (event) => {
  if (!state.scene || !(event.ctrlKey || document.activeElement === stage)) return; // else the page scrolls
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
}, { passive: false });

const actions = { larger: () => zoom(1.5), smaller: () => zoom(1 / 1.5), fit };
const keys = {
  ArrowRight: () => step(1, 0), ArrowLeft: () => step(-1, 0), ArrowDown: () => step(0, 1), ArrowUp: () => step(0, -1),
  "+": actions.larger, "=": actions.larger, "-": actions.smaller, 0: fit, Escape: () => choose(-1),
};
stage.addEventListener("keydown", (event) => {
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
});
element.addEventListener("click", (event) => actions[event.target.dataset?.do]?.());
element.addEventListener("change", (event) => {
  if (event.target.dataset.do === "outlines") layer.style.display = event.target.checked ? "" : "none";
});

watch("value", drawScene);
watch("facts", () => {
  readFacts();
  if (state.chosen >= 0) fill(find("facts"), factsOf(state.chosen));
});
watch("chosen", () => { // a row of the table, which comes with the facts; without them it is still that of another scene
  const row = parsed(props.chosen)?.cell ?? -1;
  if (state.facts && row >= 0 && row < state.paths.length) { choose(row); bringIntoView(state.scene.cells[row]); }
});
drawScene();
