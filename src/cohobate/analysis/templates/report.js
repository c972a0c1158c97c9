const config = { responsive: true, displayModeBar: false };
const touched = matchMedia("(pointer: coarse)").matches;
for (const [id, { data, layout }] of Object.entries(figures)) {
  if (touched) layout.dragmode = false; // a finger on a figure scrolls the page
  layout.showlegend = false; // the page has one legend for all figures
  Plotly.newPlot(id, data, layout, config);
}

document.getElementById("theme").onclick = () => {
  const { style } = document.documentElement;
  const dark = style.colorScheme ? style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  style.colorScheme = dark ? "light" : "dark";
};

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
