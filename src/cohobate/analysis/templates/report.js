const config = { responsive: true, displayModeBar: false };
const touched = matchMedia("(pointer: coarse)").matches;
for (const [id, { data, layout }] of Object.entries(figures)) {
  if (touched) layout.dragmode = false; // a finger on a figure scrolls the page
  layout.showlegend = false; // the page has one legend for all figures
  Plotly.newPlot(id, data, layout, config);
}

// Contents of a long page.
const headings = [...document.querySelectorAll("main h2")];
for (const [number, heading] of headings.length > 3 ? headings.entries() : []) {
  heading.id = `section-${number + 1}`;
  const link = Object.assign(document.createElement("a"), { href: `#${heading.id}`, textContent: heading.textContent });
  document.querySelector("nav").append(link);
}

const choices = [...document.querySelectorAll(".legend button")];
for (const button of choices) {
  button.onclick = () => {
    const visible = button.ariaPressed === "false";
    for (const same of choices.filter((other) => other.value === button.value)) same.ariaPressed = visible;
    for (const [id, { data }] of Object.entries(figures)) {
      const own = [...data.keys()].filter((index) => data[index].legendgroup === button.value);
      if (own.length) Plotly.restyle(id, { visible }, own);
    }
  };
}

for (const button of document.querySelectorAll("th button")) {
  button.onclick = () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const order = head.ariaSort === "descending" ? "ascending" : "descending";
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.cells[head.cellIndex].dataset.value;
    const compare = (a, b) => (!a || !b ? !a - !b : sign * (isNaN(a) ? a.localeCompare(b) : a - b));
    for (const other of head.parentElement.cells) other.ariaSort = null;
    head.ariaSort = order;
    body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
  };
}

// A dot on a map shows its image: the sheet of all of them, moved behind a window of one.
const peek = document.getElementById("peek");
const side = 96;
for (const id of peek ? Object.keys(figures).filter((name) => name.startsWith("map-")) : []) {
  const place = document.getElementById(id);
  place.on("plotly_hover", ({ event, points: [{ customdata: [, cell] }] }) => {
    const { columns } = peek.dataset;
    const left = event.clientX + side + 32 > innerWidth ? event.clientX - side - 24 : event.clientX + 16;
    Object.assign(peek.style, { left: `${left}px`, top: `${event.clientY + 16}px` });
    Object.assign(peek.firstChild.style, {
      width: `${columns * side}px`,
      left: `${-side * (cell % columns)}px`,
      top: `${-side * Math.floor(cell / columns)}px`,
    });
    peek.hidden = false;
  });
  place.on("plotly_unhover", () => { peek.hidden = true; });
}

// Where a number comes from: told under the pointer, the finger or the focus.
const source = document.getElementById("source");
const hush = () => {
  source.hidden = true;
  document.querySelector("[aria-describedby=source]")?.removeAttribute("aria-describedby");
};
const tell = ({ target }) => {
  if (source.contains(target)) return; // so that it can be copied
  hush();
  const place = target.closest("[data-source]");
  if (!place) return;
  source.hidden = false;
  source.textContent = place.dataset.source;
  place.setAttribute("aria-describedby", source.id);
  const { left, top, bottom } = place.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = source;
  const below = bottom + offsetHeight < innerHeight;
  source.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - offsetWidth - 8))}px`;
  source.style.top = `${below ? bottom : Math.max(8, top - offsetHeight)}px`;
};
for (const event of ["mouseover", "focusin", "click"]) document.addEventListener(event, tell);
document.addEventListener("scroll", () => {
  const place = document.querySelector("[aria-describedby=source]");
  hush();
  if (place && place === document.activeElement) tell({ target: place }); // whose focus may have scrolled
}, true);

// A table is one stop of the tab key; the arrow keys lead from cell to cell.
const arrows = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
for (const table of document.querySelectorAll("table")) {
  const cells = [...table.querySelectorAll("td[data-source]")];
  const stop = (cell) => cells.forEach((other) => (other.tabIndex = other === cell ? 0 : -1));
  stop(cells[0]);
  table.addEventListener("focusin", ({ target }) => cells.includes(target) && stop(target));
  table.addEventListener("keydown", (event) => {
    const cell = event.target;
    if (!arrows[event.key] || !cells.includes(cell)) return;
    const [down, right] = arrows[event.key];
    const next = table.rows[cell.parentElement.rowIndex + down]?.cells[cell.cellIndex + right];
    if (!cells.includes(next)) return;
    event.preventDefault();
    next.focus();
  });
}
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") hush();
});
