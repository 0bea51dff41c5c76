/**
 * Nodes that become others and keep what is the same of them: what somebody has selected, scrolled sideways or focused
 * stays as it is, and the browser lays out only what is new.
 */

/** Make what `parent` has after `after` (null: all it has) the children of `wanted`. Buttons stay what they are. */
export function morph(parent, after, wanted) {
  for (const _ of morphing(parent, after, wanted));
}

/** The same a step at a time, for who wants to pause: one for each child that has to change. */
export function* morphing(parent, after, wanted) {
  let node = after === null ? parent.firstChild : after.nextSibling;
  for (const want of [...wanted.childNodes]) {
    if (node === null) {
      parent.append(want);
      yield;
      continue;
    }
    const next = node.nextSibling;
    if (!node.isEqualNode(want)) {
      become(node, want);
      yield;
    }
    node = next;
  }
  while (node !== null) {
    const extra = node;
    node = node.nextSibling;
    extra.remove();
  }
}

function become(node, want) {
  if (node.nodeName === "BUTTON" && want.nodeName === "BUTTON") return;
  if (node instanceof Text && want instanceof Text) retell(node, want.data);
  else if (node instanceof Element && node.cloneNode().isEqualNode(want.cloneNode())) morph(node, null, want);
  else node.replaceWith(want);
}

/** What is appended to a text leaves a selection in it alone. */
function retell(text, data) {
  if (data.startsWith(text.data)) text.appendData(data.slice(text.length));
  else text.data = data;
}
