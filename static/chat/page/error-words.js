/**
 * What errors say, for the catalogs: the server says it in English, in an event or a row, and the page in its reader's
 * language. (tests/unit/test_languages.py finds what is missing here.)
 */

import { gettext } from "./language.js";

export const ERRORS = [
  gettext("This is not a frame of the protocol."),
  gettext("A field of the command is missing or wrong."),
  gettext("This is longer than the server allows."),
  gettext("Sign in first."),
  gettext("You may not do this."),
  gettext("This address does not have that method."),
  gettext("There is no such thing here."),
  gettext("The chat has gone on since."),
  gettext("An answer is being written."),
  gettext("Too many requests. Wait a moment."),
  gettext("This took too long. Search for something else."),
  gettext("This server does not support that."),
  gettext("No worker is running. Your message waits for one."),
  gettext("The model did not answer in time."),
  gettext("The model's server can't be reached."),
  gettext("The model's server is over its limit."),
  gettext("The model's server refused the request."),
  gettext("The chat is too long for this model."),
  gettext("The model's filter ended the answer."),
  gettext("The model's answer broke off."),
  gettext("The answer was interrupted on the server."),
  gettext("Something went wrong on the server."),
  gettext("An id of this command is taken already."),
  gettext("Too many of your messages are waiting. Let some be answered first."),
  gettext("This message has no place in the chat."),
  gettext("This model is not offered here."),
  gettext("Only a message of yours that was not taken back can be edited."),
  gettext("Only an answer can be generated again."),
  gettext("Only an answer can be gone on with."),
  gettext("The answer is no longer the last message."),
  gettext("The answer is complete."),
  gettext("The parent has no place in the chat yet."),
  gettext("There are as many versions here as there may be."),
  gettext("Name a thread, or inbox."),
  gettext("Too many chats are open on this connection. Detach one first."),
  gettext("Frames are text."),
  gettext("Too many commands are waiting for their turn."),
  gettext("The answer has more parts than the server allows."),
  gettext("The answer is longer than the server allows."),
  gettext("Too many streams are open. Close one first."),
  gettext("Too much of what you asked for is waiting for its turn."),
];

/** What an error says. */
export const errorWords = (error) => gettext(error.message);
