"use strict";
// Shows what the best articles would be without the click that is pointed at.
const signed = (number) => (number < 0 ? "\u2212" : "+") + Math.abs(number).toFixed(2);
for (const reader of document.querySelectorAll(".reader")) {
  const clicks = reader.querySelectorAll("[data-click]");
  const show = (click) => {
    for (const element of clicks) element.classList.toggle("marked", element.dataset.click === click);
    for (const article of reader.querySelectorAll(".best > li")) {
      const output = article.querySelector(".without");
      const without = click === null ? null : JSON.parse(article.dataset.without)[click];
      if (!without) {
        output.textContent = "";
        continue;
      }
      const [score, rank] = without;
      const change = signed(score - Number(article.dataset.score));
      output.textContent = ` · without the click ${change}, no. ${article.dataset.rank} \u2192 ${rank}`;
    }
  };
  for (const element of clicks) {
    element.addEventListener("pointerenter", () => show(element.dataset.click));
    element.addEventListener("pointerleave", () => show(null));
    element.addEventListener("focusin", () => show(element.dataset.click));
    element.addEventListener("focusout", () => show(null));
  }
  const hint = reader.querySelector(".scripted");
  if (hint) hint.hidden = false;
}
