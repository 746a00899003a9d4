// Details of a mark at hover, touch and by the arrow keys. Without this script every mark still has
// its title, and every chart its table.
(() => {
  "use strict";
  const REACH = 28;
  const tip = document.getElementById("tip");
  let lit = null;

  function hide() {
    if (lit) lit.classList.remove("lit");
    lit = null;
    tip.hidden = true;
  }

  function show(mark) {
    if (mark === lit) return;
    hide();
    lit = mark;
    mark.classList.add("lit");
    tip.textContent = mark.details;
    tip.hidden = false;
    put(mark);
  }

  function put(mark) {
    const at = shape(mark).getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, (at.left + at.right - size.width) / 2), width - size.width - 8);
    const above = at.top - size.height - 12;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 12}px`;
  }

  function shape(mark) {
    return mark.querySelector(".shape, .spread") || mark;
  }

  function distance(box, x, y) {
    const across = Math.max(box.left - x, 0, x - box.right);
    const along = Math.max(box.top - y, 0, y - box.bottom);
    const middle = Math.hypot((box.left + box.right) / 2 - x, (box.top + box.bottom) / 2 - y);
    return Math.hypot(across, along) + middle / 1e4;
  }

  function nearest(marks, x, y) {
    let best = null;
    let least = REACH;
    for (const mark of marks) {
      const far = distance(shape(mark).getBoundingClientRect(), x, y);
      if (far < least) [best, least] = [mark, far];
    }
    return best;
  }

  for (const chart of document.querySelectorAll("svg.chart")) {
    const marks = [...chart.querySelectorAll(".mark")];
    for (const mark of marks) {
      const title = mark.querySelector("title");
      mark.details = title.textContent;
      title.remove();
    }
    // The arrows go from left to right; bars, which begin at one place, from top to bottom.
    const start = (mark) => {
      const box = shape(mark).getBBox();
      return [Math.round(box.x), box.y];
    };
    let ordered = null;
    const order = () => {
      ordered ||= marks
        .map((mark) => [mark, start(mark)])
        .sort((a, b) => a[1][0] - b[1][0] || a[1][1] - b[1][1])
        .map((pair) => pair[0]);
      return ordered;
    };
    const point = (event) => {
      const found = nearest(marks, event.clientX, event.clientY);
      if (found) show(found);
      else hide();
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide();
    });
    chart.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      if (event.key === "Escape") return hide();
      if (!(event.key in steps) || !marks.length) return;
      event.preventDefault();
      const now = order().indexOf(lit);
      const next = now < 0 ? 0 : (now + steps[event.key] + marks.length) % marks.length;
      show(order()[next]);
    });
    chart.addEventListener("blur", hide);
  }
  addEventListener("scroll", () => lit && put(lit), { passive: true });
  addEventListener("resize", hide);
})();
