// Early in the page, so that it is never drawn in the wrong colours first.
const theme = document.getElementById("theme");
try {
  theme.value = localStorage.getItem("cohobate-theme") ?? theme.value;
} catch {} // some browsers keep nothing for a page from a disk
theme.onchange = () => {
  document.documentElement.style.colorScheme = theme.value;
  try {
    localStorage.setItem("cohobate-theme", theme.value);
  } catch {}
};
document.documentElement.style.colorScheme = theme.value;
