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

// A dot on a map shows its image, cut out of the sheet of all of them.
const sheet = document.getElementById("sheet");
const peek = document.getElementById("peek");
for (const id of sheet ? Object.keys(figures).filter((name) => name.startsWith("map-")) : []) {
  const place = document.getElementById(id);
  place.on("plotly_hover", ({ event, points: [{ customdata }] }) => {
    const { side, columns } = sheet.dataset;
    const zoom = 96 / side;
    const [row, column] = [Math.floor(customdata[1] / columns), customdata[1] % columns];
    const left = event.clientX + 130 > innerWidth ? event.clientX - 120 : event.clientX + 16;
    Object.assign(peek.style, {
      left: `${left}px`, top: `${event.clientY + 16}px`, width: "96px", height: "96px",
      backgroundImage: `url(${sheet.src})`,
      backgroundSize: `${columns * side * zoom}px auto`,
      backgroundPosition: `${-column * 96}px ${-row * 96}px`,
    });
    peek.hidden = false;
  });
  place.on("plotly_unhover", () => { peek.hidden = true; });
}
