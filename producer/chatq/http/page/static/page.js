// What htmx needs beside it: the beat by which the page is kept live, and what is said when that stops.
"use strict";
(() => {
  const BEAT_MS = 3000;

  // Nobody looks at a hidden tab, so nothing is asked for it.
  const beat = () => {
    if (!document.hidden) document.body.dispatchEvent(new Event("refresh"));
  };
  setInterval(beat, BEAT_MS);
  document.addEventListener("visibilitychange", beat);

  // What the reader has opened, and a form that is under way, stay as they are while what is around them changes.
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (before) =>
    !(before instanceof Element && before.classList.contains("htmx-request") && before.id !== "live");
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");

  const lost = document.getElementById("lost");
  const isLive = (event) => event.detail.target && event.detail.target.id === "live";
  const lose = (why) => {
    if (lost.hidden) {
      const since = new Date().toLocaleTimeString();
      lost.textContent = `${why} What you see is of ${since}; the page tries again by itself.`;
      lost.hidden = false;
    }
  };
  document.body.addEventListener("htmx:sendError", (event) => {
    if (isLive(event)) lose("The front does not answer.");
    else document.getElementById("said").textContent = "The front does not answer. Try again in a moment.";
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (!isLive(event)) return;
    if (event.detail.xhr.status >= 400) {
      event.detail.shouldSwap = false;
      lose("The front cannot tell how things are now.");
    } else {
      lost.hidden = true;
    }
  });

  document.body.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-close]"))
      document.getElementById("said").replaceChildren();
  });
})();
