/** Words in other languages: the forms of plurals, values in their places, numbers. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { gettext, locale, ngettext, number, speak } from "../../static/chat/page/language.js";

const ENGLISH = { language: "en", messages: {} };
afterEach(() => speak(ENGLISH));

test("without a catalog everything is said in English", () => {
  assert.equal(gettext("Queued, place {place}", { place: 2 }), "Queued, place 2");
  assert.equal(ngettext("{count} chat", "{count} chats", 1), "1 chat");
  assert.equal(ngettext("{count} chat", "{count} chats", 2), "2 chats");
  assert.equal(ngettext("{count} chat", "{count} chats", 0), "0 chats");
});

test("a catalog's words are said, and in English what it does not have", () => {
  speak({ language: "de", messages: { Stopped: "Angehalten" } });
  assert.equal(gettext("Stopped"), "Angehalten");
  assert.equal(gettext("Live"), "Live");
});

test("a language with many forms of the plural gets the right one", () => {
  const forms = ["{count} czat", "{count} czaty", "{count} czatów"];
  speak({ language: "pl", messages: { "{count} chat": forms } });
  const said = [1, 2, 5, 12, 22, 25].map((count) => ngettext("{count} chat", "{count} chats", count));
  assert.deepEqual(said, ["1 czat", "2 czaty", "5 czatów", "12 czatów", "22 czaty", "25 czatów"]);
  speak({ language: "ja", messages: { "{count} chat": ["チャット {count} 件"] } });
  assert.equal(ngettext("{count} chat", "{count} chats", 3), "チャット 3 件");
});

test("what a value says is never taken for a place", () => {
  assert.equal(gettext("“{title}” is deleted.", { title: "{title} $& {other}" }), "“{title} $& {other}” is deleted.");
  assert.equal(gettext("Model {name}"), "Model {name}");
});

test("numbers are written as the language writes them", () => {
  speak({ language: "de", messages: {} });
  assert.equal(number(12345.5), "12.345,5");
  assert.equal(ngettext("{count} chat", "{count} chats", 5000), "5.000 chats");
});

test("numbers and dates are written as where the reader is, in the language that is spoken", () => {
  speak({ language: "de", messages: {} }, ["en-GB", "de-CH"]);
  assert.equal(locale, "de-CH");
  assert.equal(number(12345), (12345).toLocaleString("de-CH"));
  assert.notEqual(number(12345), "12.345");
  speak({ language: "de", messages: {} }, ["en-GB"]);
  assert.equal(locale, "de");
});
