// What is shown, in the language of the interface. Errors that the server sends, and what has no template, stay English.
import { app } from "../../../scripts/app.js";
import { SENTENCES, WORDS, phases } from "./zh.js";

const PHASES = phases(say);
const MARKS = /(^\d+\. |^- |^\| | \| | \|$|\*\*)/; // Markdown: of lists, cells, what is bold
let patterns = null;

function chinese() {
    return app.extensionManager?.setting?.get?.("Comfy.Locale") === "zh";
}

// `text` is a key of the language's table, or what the server says with values in it; {0}, {1}, ... in a key are
// replaced by `values`, which are said already.
export function say(text, ...values) {
    if (!text) return text;
    const words = chinese() ? (WORDS[text] ?? phase(text) ?? sentence(text) ?? text) : text;
    return values.length ? words.replace(/\{(\d)\}/g, (_, at) => values[at]) : words;
}

// A report of several lines, also in Markdown: what stands between its marks is said by itself.
export function sayLines(text) {
    return text.split("\n").map(line => line.split(MARKS).map((part, at) => at % 2 ? part : say(part)).join("")).join("\n");
}

function phase(text) {
    for (const [pattern, made] of PHASES) {
        const found = pattern.exec(text);
        if (found) return made(...found.slice(1));
    }
    return null;
}

// A sentence of the table; what stands in its places is said by itself, or, if it is a list, each of its parts.
function sentence(text) {
    patterns ??= Object.keys(SENTENCES).sort((a, b) => own(b) - own(a)).map(key => [pattern(key), SENTENCES[key]]);
    for (const [one, words] of patterns) {
        const found = one.exec(text);
        if (!found) continue;
        const parts = found.slice(1).map(part => {
            const list = part.split("; "), known = list.map(each => say(each));
            return say(part) === part || known.every((each, at) => each !== list[at]) ? known.join("；") : say(part);
        });
        return words.replace(/\{(\d)\}/g, (_, at) => parts[at]);
    }
    return null;
}

function own(key) {
    return key.replace(/\{\d\}/g, "").length;
}

function pattern(key) {
    const escaped = key.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
    const holes = escaped.replace(/^(frames? )\{0\}$/, "$1(\\d[\\d, to-]*)").replace(/\{\d\}/g, "(.+?)"); // numbers only
    return new RegExp(`^${holes}$`, "si"); // a report begins a sentence with a capital
}
