/**
 * Keeps the end in sight as it grows, unless the reader has gone elsewhere; then keeps the reader's place.
 *
 * What the reader wants is judged by wheel, touch, keys and the scrollbar, by what is opened and written in, and by where the
 * view is: the page itself moves it down only, so if it stands higher than it was put, it was taken there, by the
 * keyboard's focus, a selection, or the browser's own search.
 */

const UP = new Set(["ArrowUp", "PageUp", "Home"]);
const DOWN = new Set(["ArrowDown", "PageDown", "End"]);
const NEAR = 4;
/** Pixels that a finger has to go: it trembles, also where it means to go sideways. */
const TREMOR = 8;
/** Pixels below the answers that are written side by side. */
const ROOM = 24;

export class Scroll {
  #scroller;
  #onchange;
  #stuck = true;
  /** Where the view was put when it was last moved to the end. */
  #put = 0;
  #direction = 0;
  #touch = { x: 0, y: 0 };
  #dragging = false;
  #selecting = false;
  /** The answers that are written side by side. */
  #abreast = [];
  #width = 0;
  /** What the reader has at the upper edge (see #edge). */
  #place = [];

  /** `onchange` is called when `stuck` may have changed, or what lies below. */
  constructor(scroller, onchange) {
    this.#scroller = scroller;
    this.#onchange = onchange;
    const watch = new ResizeObserver(() => this.#resized());
    watch.observe(scroller);
    for (const child of scroller.children) watch.observe(child);
    const passive = { passive: true };
    scroller.addEventListener("wheel", (event) => this.#turned(event), passive);
    scroller.addEventListener("touchstart", ({ touches: [{ clientX: x, clientY: y }] }) => (this.#touch = { x, y }), passive);
    scroller.addEventListener("touchmove", (event) => this.#swiped(event.touches[0]), passive);
    scroller.addEventListener("keydown", (event) => this.#pressed(event));
    scroller.addEventListener("pointerdown", (event) => {
      this.#dragging = event.target === scroller && event.offsetX >= scroller.clientWidth;
      this.#selecting = !this.#dragging && event.pointerType === "mouse";
    });
    addEventListener("pointerup", () => this.#released());
    addEventListener("pointercancel", () => this.#released()); // what was selected is being carried away
    // Who writes in a message does not want it to go away.
    scroller.addEventListener("focusin", (event) => event.target.matches("textarea") && this.#leave());
    scroller.addEventListener("click", (event) => event.target.closest("summary") && this.#opened());
    scroller.addEventListener("scroll", () => this.#scrolled(), passive);
  }

  /** Whether the end stays in sight. */
  get stuck() {
    return this.#stuck;
  }

  /** How much lies below what is seen, in pixels. */
  get below() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** To the end, and stay there. */
  toEnd() {
    this.#stuck = true;
    this.#direction = 0;
    this.#selecting = false;
    this.#abreast = [];
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#follow();
  }

  /** Stay here; at the end, if that is in sight. */
  settle() {
    this.#stuck = this.below <= NEAR;
    this.#put = this.#scroller.scrollTop;
    this.#onchange();
  }

  /** Do something that may change what lies above, without moving what is seen. */
  keep(change) {
    const place = this.#stuck ? [] : this.#edge();
    change();
    this.#restore(place);
  }

  /** Where the keys go that went to something which is no longer there. */
  focus() {
    this.#scroller.focus({ preventScroll: true });
  }

  /** Put something that has taken another's place where that one was. */
  place(node, top) {
    this.#scroller.scrollTop += node.getBoundingClientRect().top - top;
    this.settle();
  }

  // -------------------------------------------------------------------------------------------- what the reader wants

  #wants(direction) {
    this.#direction = Math.sign(direction);
    if (this.#direction < 0) this.#leave();
  }

  /** The reader is elsewhere than at the end, if there is an elsewhere. */
  #leave() {
    if (!this.#stuck || this.#scroller.scrollHeight <= this.#scroller.clientHeight) return;
    this.#stuck = false;
    this.#onchange();
  }

  #turned({ deltaX, deltaY, ctrlKey }) {
    if (!ctrlKey && Math.abs(deltaY) > Math.abs(deltaX)) this.#wants(deltaY); // neither sideways, nor to enlarge
  }

  #swiped({ clientX: x, clientY: y }) {
    const [across, down] = [x - this.#touch.x, this.#touch.y - y];
    if (Math.abs(down) < TREMOR || Math.abs(down) <= Math.abs(across)) return;
    this.#wants(down);
    this.#touch = { x, y };
  }

  #pressed({ key, shiftKey, target }) {
    if (target.matches("textarea")) return;
    const up = UP.has(key) || (key === " " && shiftKey);
    if (up || DOWN.has(key) || key === " ") this.#wants(up ? -1 : 1);
  }

  #released() {
    const selected = this.#selecting && !getSelection().isCollapsed;
    this.#dragging = this.#selecting = false;
    if (selected && this.below > NEAR) this.#leave();
  }

  /** Something is being opened or closed. It stays where it is; at the end, if that is in sight then. */
  #opened() {
    this.#stuck = false;
    requestAnimationFrame(() => this.settle());
  }

  #scrolled() {
    const taken = this.#scroller.scrollTop < this.#put - NEAR && this.below > NEAR;
    if (this.#dragging) this.#stuck = this.below <= NEAR;
    else if (this.#direction > 0 && this.below <= NEAR) this.#stuck = true;
    else if (this.#stuck) this.#stuck = !taken;
    // What another width has moved is put back where it was.
    if (!this.#stuck && this.#scroller.clientWidth === this.#width) this.#place = this.#edge();
    this.#onchange();
  }

  // ------------------------------------------------------------------------------------------------ where the view is

  #resized() {
    const { clientWidth } = this.#scroller;
    if (clientWidth !== this.#width && !this.#stuck) this.#restore(this.#place);
    this.#width = clientWidth;
    this.#follow();
  }

  #follow() {
    if (this.#stuck && !this.#selecting) {
      const before = this.#abreast;
      this.#abreast = this.#growingAbreast();
      const answers = this.#abreast.length > 0 ? this.#abreast : before;
      if (answers.length > 0) this.#followShortest(answers, before.length === 0);
      else this.#scroller.scrollTop = this.#scroller.scrollHeight;
      this.#put = this.#scroller.scrollTop;
      // The last of them to end need not be the longest: its end is what stays in sight.
      if (before.length > 0 && this.#abreast.length === 0) this.#stuck = this.below <= NEAR;
    }
    this.#onchange();
  }

  /** The answers that grow in the last row of those that stand side by side: on a phone, one at most. */
  #growingAbreast() {
    const all = [...this.#scroller.querySelectorAll('[data-abreast][data-status="streaming"]')];
    const top = (answer) => Math.round(answer.getBoundingClientRect().top);
    return all.filter((answer) => top(answer) === top(all.at(-1)));
  }

  /** Where answers are written side by side, the end of the shortest is in sight: there, all of them have something to
   * show. `back`: also if it is above. */
  #followShortest(answers, back) {
    const feet = answers.map((answer) => answer.querySelector(".foot"));
    const bottom = Math.min(...feet.map((foot) => foot.getBoundingClientRect().bottom));
    const missing = bottom + ROOM - this.#scroller.getBoundingClientRect().bottom;
    if (missing > 0 || back) this.#scroller.scrollTop += missing;
  }

  /** What is at the upper edge, best first, as [node, pixels from the edge to its top]: a block of a message, the message. */
  #edge() {
    const { top } = this.#scroller.getBoundingClientRect();
    const message = firstBelow(this.#scroller.querySelectorAll(".message"), top);
    const block = message && firstBelow(message.querySelector(".text").children, top);
    const from = (node) => node.getBoundingClientRect().top - top;
    // Above the first block there may be thoughts.
    const isInText = block && (block.previousElementSibling !== null || from(block) <= 0);
    return [isInText && block, message].filter(Boolean).map((node) => [node, from(node)]);
  }

  #restore(place) {
    const [node, from] = place.find(([candidate]) => candidate.isConnected) ?? [];
    if (node === undefined) return;
    const { top } = this.#scroller.getBoundingClientRect();
    this.#scroller.scrollTop += node.getBoundingClientRect().top - top - from;
  }
}

/** The first of the nodes, which stand one below the other, that ends below this line. */
function firstBelow(nodes, line) {
  let [from, to] = [0, nodes.length];
  while (from < to) {
    const at = (from + to) >> 1;
    if (nodes[at].getBoundingClientRect().bottom > line) to = at;
    else from = at + 1;
  }
  return nodes[from];
}
