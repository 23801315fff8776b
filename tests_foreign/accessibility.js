// What is wrong with the page for who reads it with a keyboard, a screen reader or weak eyes: sentences, or nothing.
// Sources: WCAG 2.2, 1.1.1, 1.3.1, 1.4.3, 2.4.1, 2.4.2, 2.4.4, 3.1.1, 4.1.1, 4.1.2.
() => {
  const wrong = [];
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const name = (element) =>
    (
      element.getAttribute("aria-label") ||
      (element.getAttribute("aria-labelledby") || "")
        .split(" ")
        .map((id) => (id ? document.getElementById(id)?.textContent : ""))
        .join(" ") ||
      [...(element.labels || [])].map((label) => label.textContent).join(" ") ||
      element.textContent ||
      ""
    ).trim();
  const tell = (what, element) => wrong.push(`${what}: ${element.outerHTML.slice(0, 160)}`);

  if (!document.documentElement.lang) wrong.push("the language of the page is not said");
  if (!document.title) wrong.push("the page has no title");
  for (const landmark of ["main", "header"])
    if (all(landmark).filter((one) => one.closest("article, section") === null).length !== 1)
      wrong.push(`there is not one ${landmark}`);
  if (document.querySelectorAll("h1").length !== 1) wrong.push("there is not one h1");
  let before = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) tell(`a heading skips from ${before} to ${level}`, heading);
    before = level;
  }
  for (const field of all("input:not([type=hidden]), select, textarea"))
    if (!field.labels.length && !field.getAttribute("aria-label")) tell("a field has no label", field);
  for (const one of all("button, a[href], [role=region], section, article, nav"))
    if (!name(one)) tell("it has no name", one);
  for (const head of all("th")) if (!["col", "row"].includes(head.scope)) tell("a header has no scope", head);
  for (const image of document.querySelectorAll("img")) if (!image.hasAttribute("alt")) tell("no alt", image);
  for (const figure of document.querySelectorAll("svg"))
    if (figure.getAttribute("role") !== "img" || !name(figure)) tell("a figure says nothing", figure);
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`the id ${id} is there twice`);
  for (const one of document.querySelectorAll("[aria-labelledby]"))
    if (!document.getElementById(one.getAttribute("aria-labelledby"))) tell("its label is not there", one);
  for (const one of document.querySelectorAll("[tabindex]"))
    if (one.tabIndex > 0) tell("it comes out of turn", one);
  for (const one of all(".scroll, pre, ul.models"))
    if (one.scrollWidth > one.clientWidth && one.tabIndex !== 0) tell("a keyboard cannot scroll it", one);

  // Contrast of every text with what it stands on.
  const colour = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = colour(getComputedStyle(one).backgroundColor);
      if (found.a === 1) return found;
      if (found.a > 0) tell("a ground that lets through cannot be judged", one);
    }
    return colour("rgb(255, 255, 255)");
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !shown(element) || element.closest(".unseen, script, option")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(colour(style.color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (contrast < needed) tell(`a contrast of ${contrast.toFixed(2)}`, element);
  }
  return wrong;
};
