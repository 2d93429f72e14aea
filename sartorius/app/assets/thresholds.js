// A threshold that is typed stays within its bounds, and a box that is left without a number shows again what holds.
// Gradio's slider would ask the server with what was typed, which refuses it, and then show what no cell was held against.
(() => {
  const inBox = (act) => (event) => event.target.matches?.(".confidence input[type=number]") && act(event.target, event);
  const first = (name, act) => document.addEventListener(name, inBox(act), true); // before Gradio sees it
  let held = "";

  first("focus", (box) => { held = box.value; });
  first("input", (box, event) => {
    if (box.value === "") return event.stopImmediatePropagation(); // no number yet
    const bounded = Math.min(Math.max(box.value, box.min), box.max);
    if (bounded !== Number(box.value)) box.value = bounded;
    held = box.value;
  });
  first("blur", (box) => { if (box.value === "") box.value = held; });
})();
