// Adds a cursor with the time and what is under it, a zoom, and a button that copies. The page needs none of it.
"use strict";
const chart = document.querySelector(".chart"), scroll = chart.parentElement;
const under = chart.querySelector(".under");
const seconds = Number(chart.dataset.seconds);
const make = (tag, name, text) => {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
};

const tip = make("div", "tip", "");
const [time, what] = [make("strong", "", ""), make("span", "", "")];
tip.append(time, what);
tip.hidden = true;
document.body.append(tip);
const cursor = make("i", "cursor", "");
chart.querySelector(".over").append(cursor);
cursor.hidden = true;

// The browser's own tooltip would show the same again, a moment later.
const titleOf = (element) => {
  const holder = element.closest("[title], [data-title], g");
  if (!holder) return "";
  const title = holder.querySelector("title");
  const text = holder.title || title?.textContent;
  if (text && typeof text === "string") holder.dataset.title = text;
  holder.removeAttribute("title");
  title?.remove();
  return holder.dataset.title ?? "";
};
const hide = () => { tip.hidden = cursor.hidden = true; };
const point = (event) => {
  const { left, width } = under.getBoundingClientRect();
  const share = (event.clientX - left) / width;
  const onHead = event.target.closest(".head, .name");
  if (share < 0 || share > 1 || onHead) return hide();
  tip.hidden = cursor.hidden = false;
  cursor.style.left = `${100 * share}%`;
  time.textContent = `${(share * seconds).toFixed(3)} s`;
  what.textContent = titleOf(event.target);
  const right = event.clientX + 14 + tip.offsetWidth > innerWidth;
  tip.style.left = `${Math.max(4, right ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14)}px`;
  const below = event.clientY + 18 + tip.offsetHeight > innerHeight;
  tip.style.top = `${below ? event.clientY - 18 - tip.offsetHeight : event.clientY + 18}px`;
};
chart.addEventListener("pointermove", point);
chart.addEventListener("pointerdown", point);
chart.addEventListener("pointerleave", hide);

let zoom = 1;
// What is at `x`, in pixels from the left end of the window, stays there.
const zoomTo = (next, x = scroll.clientWidth / 2) => {
  const bounds = () => under.getBoundingClientRect();
  const at = (x + scroll.getBoundingClientRect().left - bounds().left) / bounds().width;
  zoom = Math.min(64, Math.max(1, next));
  chart.style.setProperty("--zoom", zoom);
  chart.classList.toggle("wide", bounds().width > 700);
  chart.classList.toggle("near", bounds().width > 6000);
  scroll.scrollLeft += at * bounds().width + bounds().left - scroll.getBoundingClientRect().left - x;
};
const button = (text, label, act) => {
  const element = make("button", "", text);
  element.setAttribute("aria-label", label);
  element.title = label;
  element.addEventListener("click", act);
  return element;
};
const bar = make("div", "zoom", "");
bar.append(
  make("span", "", "Ctrl and the wheel look closer"),
  button("−", "show more time", () => zoomTo(zoom / 2)),
  button("+", "look closer", () => zoomTo(zoom * 2)),
  button("all", "show all", () => zoomTo(1)),
);
scroll.before(bar);
scroll.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoomTo(zoom * Math.exp(-event.deltaY / 200), event.clientX - scroll.getBoundingClientRect().left);
}, { passive: false });

const code = document.querySelector(".again code");
const copy = button("copy", "copy the command", async () => {
  getSelection().selectAllChildren(code);
  await navigator.clipboard.writeText(code.textContent.trim());
  copy.textContent = "copied";
});
if (navigator.clipboard) code.after(copy);
