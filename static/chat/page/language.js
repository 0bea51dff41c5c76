/**
 * The page in its reader's language: gettext, with the English words as the key.
 *
 * The server puts the catalog of the language that it speaks into the page (chat/languages.py). Where there is none, in
 * tests too, everything is English. `{name}` in a sentence stands for the value of that name.
 */

/** Gettext numbers the forms of a plural in the order of these categories, which the browser knows of each language. */
const CATEGORIES = ["zero", "one", "two", "few", "many", "other"];

let messages = {};
let rules = null;
/** For dates and numbers: the language as it is written where the reader is, if the browser tells. */
export let locale = "en";

/** Speak a language: `{language, messages}`, where a message that counts has a list of forms. */
export function speak({ language, messages: known }, preferred = globalThis.navigator?.languages ?? []) {
  messages = known;
  locale = preferred.find((each) => each.split("-")[0] === language.split("-")[0]) ?? language;
  rules = new Intl.PluralRules(language);
}

/** A sentence. */
export function gettext(english, values = {}) {
  return fill(messages[english] ?? english, values);
}

/** A sentence that depends on a number, which it can name as `{count}`. */
export function ngettext(one, many, count, values = {}) {
  const forms = messages[one] ?? [one, many];
  return fill(forms[Math.min(formOf(count), forms.length - 1)], { count: number(count), ...values });
}

/** A number as it is written. `options` as Intl.NumberFormat has them. */
export function number(value, options = {}) {
  return value.toLocaleString(locale, options);
}

function formOf(count) {
  const known = CATEGORIES.filter((category) => rules.resolvedOptions().pluralCategories.includes(category));
  return known.indexOf(rules.select(count));
}

function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

speak(JSON.parse(globalThis.document?.getElementById("language")?.textContent ?? '{"language": "en", "messages": {}}'));
