"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
const slider = byId("threshold"), chooser = byId("class");
const NONE = "–";
let cell = "";

function rates(found, counted, objects) {
  return {
    found, missed: objects - found, wrong: counted - found,
    precision: counted ? found / counted : NaN,
    recall: objects ? found / objects : NaN,
    f1: objects ? 2 * found / (counted + objects) : NaN,
  };
}

function mean(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : NaN;
}

function written(key, value) {
  if (["precision", "recall", "f1", "score"].includes(key)) return Number.isNaN(value) ? NONE : value.toFixed(3);
  return String(value);
}

function setThreshold(step) {
  slider.value = step;
  const score = data.scores[step];
  const rows = data.objects.map((objects, i) => rates(data.found[i][step], data.detections[i][step], objects));
  for (const row of all("#counts tbody tr")) {
    const values = rows[row.dataset.label - 1];
    for (const td of all("[data-key]", row)) td.textContent = written(td.dataset.key, values[td.dataset.key]);
  }
  const kept = rows.filter((_, i) => data.objects[i]);
  const totals = { score };
  for (const key of ["found", "missed", "wrong"]) totals[key] = rows.reduce((sum, row) => sum + row[key], 0);
  for (const key of ["precision", "recall", "f1"]) totals[key] = mean(kept.map((row) => row[key]));
  totals.detections = totals.found + totals.wrong;
  for (const each of all("[data-total]")) each.textContent = written(each.dataset.total, totals[each.dataset.total]);
  byId("score").textContent = score.toFixed(3);
  slider.setAttribute("aria-valuetext", score.toFixed(3));
  for (const line of all("path.at")) line.setAttribute("d", `M${(300 * score).toFixed(1)} 0V200`);
  for (const box of all(".canvas [data-step]")) {
    const below = Number(box.dataset.step) < step;
    if (box.classList.contains("object")) box.classList.toggle("missed", below);
    else if (!box.classList.contains("difficult")) box.toggleAttribute("hidden", below);
  }
}

function setClass(label) {
  chooser.value = label;
  for (const row of all("tr[data-label]")) row.hidden = label !== "0" && row.dataset.label !== label;
  for (const line of all("polyline")) {
    line.classList.toggle("chosen", label !== "0" && line.dataset.label === label);
    line.classList.toggle("faint", label !== "0" && line.dataset.label !== label);
  }
  showPictures();
}

function showPictures() {
  const group = document.querySelector("[name=group]:checked")?.value, label = chooser.value;
  let count = 0;
  const figures = all(".gallery > figure");
  for (const figure of figures) {
    const has = (key, value) => figure.dataset[key].split(" ").includes(value);
    figure.hidden = cell ? !has("cells", cell)
      : !((group === "all" || has("groups", group)) && (label === "0" || has("labels", label)));
    count += !figure.hidden;
  }
  const [row, column] = cell.split("-").map((index) => data.names[index]);
  const which = cell ? ` with ${row} detected as ${column}` : "";
  byId("shown").textContent = `${count} of ${figures.length} pictures${which}`;
}

function follow(event) {
  cell = event.currentTarget.dataset.cell;
  setThreshold(data.best);
  for (const radio of all("[name=group]")) radio.checked = false;
  showPictures();
  all("#matrix a").forEach((link) => link.toggleAttribute("aria-current", link === event.currentTarget));
}

function forgetCell() {
  if (!document.querySelector("[name=group]:checked")) byId("groups").querySelector("[value=all]").checked = true;
  cell = "";
  all("#matrix a").forEach((link) => link.removeAttribute("aria-current"));
}

function value(row, column) {
  const td = row.cells[column], text = td.dataset.value ?? td.textContent;
  const number = Number.parseFloat(text);
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  const numbers = [a, b].map((each) => typeof each === "number");
  if (numbers[0] && numbers[1]) return a - b;
  return numbers[0] !== numbers[1] ? (numbers[0] ? -1 : 1) : a.localeCompare(b);
}

function sort(heading) {
  const body = heading.closest("table").tBodies[0], column = heading.cellIndex;
  const up = heading.getAttribute("aria-sort") === "descending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)) * (up ? 1 : -1));
  body.append(...rows);
}

function enlarge(canvas) {
  const dialog = byId("large"), copy = canvas.cloneNode(true);
  copy.removeAttribute("role");
  copy.removeAttribute("tabindex");
  dialog.querySelector("div").replaceChildren(copy);
  dialog.showModal();
}

for (const heading of all("table.sortable thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(heading));
  heading.append(button);
}
for (const canvas of all(".canvas")) {
  canvas.setAttribute("role", "button");
  canvas.tabIndex = 0;
  canvas.addEventListener("click", () => enlarge(canvas));
  canvas.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    enlarge(canvas);
  });
}
for (const hidden of ["controls", "norm", "groups"]) byId(hidden).hidden = false;
slider.addEventListener("input", () => setThreshold(Number(slider.value)));
byId("best").addEventListener("click", () => setThreshold(data.best));
chooser.addEventListener("change", () => { forgetCell(); setClass(chooser.value); });
byId("controls").addEventListener("submit", (event) => event.preventDefault());
for (const link of all("#matrix a")) link.addEventListener("click", follow);
for (const link of all("#annotations a")) {
  link.addEventListener("click", () => {
    forgetCell();
    byId("groups").querySelector("[value=all]").checked = true;
    setClass("0");
  });
}
for (const radio of all("[name=group]")) radio.addEventListener("change", () => { forgetCell(); showPictures(); });
for (const radio of all("[name=norm]")) {
  radio.addEventListener("change", () => { byId("matrix").className = `matrix ${radio.value}`; });
}
document.documentElement.classList.add("scripted");
setThreshold(data.best);
setClass("0");
