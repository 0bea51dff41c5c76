/** Reads a JSON list of Markdown texts from standard input, and writes the list of their HTML, as the browser makes it. */

import { parser } from "../../static/chat/markdown/parser.js";

let input = "";
for await (const chunk of process.stdin.setEncoding("utf8")) input += chunk;
const markdown = parser();
process.stdout.write(JSON.stringify(JSON.parse(input).map((text) => markdown.render(text))));
