// Files dropped anywhere on the page are images; the browser would open them in its place. Those larger than the server
// takes are named here and kept from Gradio, which would refuse all that come with them.
// Gradio runs this once with `element` and `props`; `props.file_mb` is what one file may have, null without a limit.
const node = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const megabytes = (file) => file.size / 1e6;
const isLarge = (file) => megabytes(file) > (props.file_mb ?? Infinity);

function say(large) {
  const list = node("ul", "");
  list.setAttribute("role", "alert");
  for (const file of large) {
    const reason = `The file has ${megabytes(file).toFixed(1)} MB; at most ${props.file_mb} MB are taken here.`;
    const item = node("li", reason);
    item.prepend(node("b", file.name));
    list.append(item);
  }
  element.replaceChildren(...(large.length ? [list] : []));
}

const drop = (zone, dataTransfer) => zone?.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));

function sift(event) {
  const files = [...(event.dataTransfer ?? event.target).files ?? []];
  if (!files.length) return;
  if (event.type === "drop" && !event.target.closest?.("#drop button")) {
    event.preventDefault();
    event.stopImmediatePropagation();
    drop(document.querySelector("#drop button"), event.dataTransfer);
    return;
  }
  if (!event.target.closest?.("#drop")) return;
  const large = files.filter(isLarge);
  if (large.length) {
    event.preventDefault();
    event.stopImmediatePropagation();
    const rest = new DataTransfer();
    for (const file of files) if (!isLarge(file)) rest.items.add(file);
    drop(event.target, rest); // as if these came alone
  }
  say(large);
}

for (const name of ["change", "drop"]) document.addEventListener(name, sift, true); // before Gradio sees it
document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
document.addEventListener("click", (event) => event.target.closest?.("#clear") && say([]));
