/** After an account was deleted: this browser forgets what it remembered for it (page/memory.js), such as drafts. */

const prefix = `rejoin:${document.body.dataset.left}:`;
for (const storage of [localStorage, sessionStorage]) {
  for (const key of Object.keys(storage)) if (key.startsWith(prefix)) storage.removeItem(key);
}
