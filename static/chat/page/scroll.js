/**
 * Keeps the end in sight as it grows, unless the reader has gone up; then keeps the reader's place.
 *
 * What the reader wants is judged by wheel, touch, keys and the scrollbar. A scroll event alone says nothing: the page
 * scrolls by itself too.
 */

const UP = new Set(["ArrowUp", "PageUp", "Home"]);
const DOWN = new Set(["ArrowDown", "PageDown", "End"]);
const NEAR = 4;

export class Scroll {
  #scroller;
  #onchange;
  #stuck = true;
  #direction = 0;
  #touch = 0;
  #dragging = false;
  #selecting = false;

  /** `onchange` is called when `stuck` may have changed, or what lies below. */
  constructor(scroller, onchange) {
    this.#scroller = scroller;
    this.#onchange = onchange;
    const watch = new ResizeObserver(() => this.#follow());
    watch.observe(scroller);
    for (const child of scroller.children) watch.observe(child);
    const passive = { passive: true };
    scroller.addEventListener("wheel", (event) => this.#wants(event.deltaY), passive);
    scroller.addEventListener("touchstart", (event) => (this.#touch = event.touches[0].clientY), passive);
    scroller.addEventListener(
      "touchmove",
      (event) => {
        const { clientY } = event.touches[0];
        this.#wants(this.#touch - clientY);
        this.#touch = clientY;
      },
      passive,
    );
    scroller.addEventListener("keydown", (event) => {
      const up = UP.has(event.key) || (event.key === " " && event.shiftKey);
      if (up || DOWN.has(event.key) || event.key === " ") this.#wants(up ? -1 : 1);
    });
    scroller.addEventListener("pointerdown", (event) => {
      this.#dragging = event.target === scroller && event.offsetX >= scroller.clientWidth;
      this.#selecting = !this.#dragging && event.pointerType === "mouse";
    });
    const released = () => (this.#dragging = this.#selecting = false);
    addEventListener("pointerup", released);
    addEventListener("pointercancel", released); // what was selected is being carried away
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
    this.#follow();
  }

  /** Do something that may change what lies above, without moving what is seen. */
  keep(change) {
    const top = this.#scroller.getBoundingClientRect().top;
    const anchor = this.#stuck
      ? undefined
      : [...this.#scroller.querySelectorAll(".message")].find((node) => node.getBoundingClientRect().bottom > top);
    const before = anchor?.getBoundingClientRect().top;
    change();
    if (anchor?.isConnected) this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
  }

  /** Where the keys go that went to something which is no longer there. */
  focus() {
    this.#scroller.focus({ preventScroll: true });
  }

  /** Put something that has taken another's place where that one was. */
  place(node, top) {
    this.#scroller.scrollTop += node.getBoundingClientRect().top - top;
    this.#stuck = this.below <= NEAR;
    this.#onchange();
  }

  #wants(direction) {
    if (direction === 0) return;
    this.#direction = Math.sign(direction);
    const scrolls = this.#scroller.scrollHeight > this.#scroller.clientHeight;
    if (this.#direction < 0 && scrolls && this.#stuck) {
      this.#stuck = false;
      this.#onchange();
    }
  }

  #scrolled() {
    if (this.#dragging) this.#stuck = this.below <= NEAR;
    else if (this.#direction > 0 && this.below <= NEAR) this.#stuck = true;
    this.#onchange();
  }

  #follow() {
    if (this.#stuck && !this.#selecting) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#onchange();
  }
}
