/** What this browser remembers for one user: text by key. What can't be stored, as long as the page is there. */
export function memory(storage, prefix) {
  const unstored = new Map();
  return {
    get(key) {
      try {
        return unstored.get(key) ?? storage.getItem(prefix + key);
      } catch {
        return null;
      }
    },
    set(key, value) {
      unstored.delete(key);
      try {
        if (value) storage.setItem(prefix + key, value);
        else storage.removeItem(prefix + key);
      } catch {
        unstored.set(key, value); // full, or switched off
      }
    },
    /** The keys that begin so. */
    keys(start) {
      try {
        const stored = Object.keys(storage).flatMap((key) => this.nameOf(key) ?? []);
        return [...new Set([...stored, ...unstored.keys()])].filter((key) => key.startsWith(start));
      } catch {
        return [...unstored.keys()].filter((key) => key.startsWith(start));
      }
    },
    /** The key that the storage has under this one; undefined if it is not of this memory. */
    nameOf(key) {
      return key?.startsWith(prefix) ? key.slice(prefix.length) : undefined;
    },
  };
}
