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
