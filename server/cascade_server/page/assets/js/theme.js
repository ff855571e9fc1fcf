// Light, dark, or as the system has it; kept in this browser.

const KEY = "cascade-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const watchers = [];

function kept() {
  try {
    return localStorage.getItem(KEY) ?? "auto";
  } catch {
    return "auto"; // a browser that keeps nothing
  }
}

function apply(choice) {
  const dark = choice === "dark" || (choice !== "light" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  watchers.forEach((each) => each());
}

export const onTheme = (callback) => watchers.push(callback);

export function startTheme() {
  for (const input of document.querySelectorAll("input[name=theme]")) {
    input.checked = input.value === kept();
    input.addEventListener("change", () => {
      try {
        localStorage.setItem(KEY, input.value);
      } catch { /* it holds for this page alone */ }
      apply(input.value);
    });
  }
  system.addEventListener("change", () => apply(kept()));
  apply(kept());
}
