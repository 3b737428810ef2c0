// What is wrong with the page in a frame; run by browser.py within one document of many frames.
function name(e) { return e.tagName + "." + (e.getAttribute("class") || "") + " " + (e.textContent || "").trim().slice(0, 40); }
function shown(e) { return e.checkVisibility() && e.getClientRects().length > 0; }
function light(c) {
  const v = c.match(/[\d.]+/g).map(Number).slice(0, 3).map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
  return .2126 * v[0] + .7152 * v[1] + .0722 * v[2];
}
function ground(e, w) {
  for (; e; e = e.parentElement) { const c = w.getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c)) return c; }
  return "rgb(255, 255, 255)";
}
function measure(frame) {
  const w = frame.contentWindow, d = frame.contentDocument, out = {clipped: [], small: [], pale: [], unlabelled: []};
  const bottom = q => { const e = d.querySelector(q); return e ? e.getBoundingClientRect().bottom : null; };
  out.answer = bottom(".answer"); out.first = bottom(".verdicts tbody tr"); out.folded = d.documentElement.scrollHeight;
  d.querySelectorAll("details").forEach(e => e.open = true);
  out.unfolded = d.documentElement.scrollHeight;
  if (d.documentElement.scrollWidth > w.innerWidth) out.clipped.push("page is " + d.documentElement.scrollWidth);
  for (const e of d.body.querySelectorAll("*")) {
    if (!shown(e) || e.closest(".store, .scroll > table > caption")) continue;
    const scroller = e.closest(".scroll"), narrow = w.innerWidth < 600;
    const scrolls = e === scroller && e.tabIndex === 0 && w.getComputedStyle(e).overflowX === "auto" && e.querySelector("svg");
    if (!(e instanceof w.SVGElement) && e.clientWidth && e.scrollWidth > e.clientWidth + 1 && !(narrow && scrolls))
      out.clipped.push(name(e) + ": " + e.scrollWidth + " in " + e.clientWidth);
    if (!(narrow && scroller) && e.getBoundingClientRect().right > w.innerWidth + 1) out.clipped.push(name(e) + " leaves the page");
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (own && !["title", "desc", "STYLE"].includes(e.tagName)) {
      const s = w.getComputedStyle(e), inSvg = e instanceof w.SVGElement;
      const m = inSvg && e.getScreenCTM(), scale = m ? Math.hypot(m.a, m.b) : 1;
      const size = parseFloat(s.fontSize) * scale;
      if (size < 10) out.small.push(name(e) + ": " + size.toFixed(1) + " px");
      if (!inSvg) {
        const [a, b] = [light(s.color), light(ground(e, w))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
        if (ratio < 4.5) out.pale.push(name(e) + ": " + ratio.toFixed(2));
      }
    }
  }
  for (const e of d.querySelectorAll("svg:not(.store)")) {
    const ids = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
    const words = e.getAttribute("aria-label") || ids.map(i => { const t = d.getElementById(i); return t && e.contains(t) ? t.textContent : ""; }).join(" ");
    if (e.getAttribute("role") !== "img" || !words.trim()) out.unlabelled.push(name(e));
    if (e.closest(".picture") && !/\d/.test((e.querySelector("desc") || {textContent: ""}).textContent)) out.unlabelled.push("no figures: " + words);
    if (shown(e) && !e.getBoundingClientRect().width) out.clipped.push("nothing is drawn: " + words);
  }
  for (const t of d.querySelectorAll("table"))
    if (!t.caption || !t.caption.textContent.trim() || [...t.querySelectorAll("th")].some(h => !h.scope)) out.unlabelled.push(name(t));
  return out;
}
addEventListener("load", () => {
  document.querySelector("pre").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
});
