// What is shown, in the language of the interface. Errors that the server sends, and what has no template, stay English.
import { app } from "../../../scripts/app.js";
import { SENTENCES, WORDS, phases } from "./zh.js";

const PHASES = phases(say);
// What a place of a sentence takes: {0} any text, {1:number} a number, and so on.
const KINDS = {
    "text": ".+?",
    "number": "-?\\d+(?:[.,]\\d+)*(?:e[+-]?\\d+)?",
    "numbers": "\\d+(?:(?:, | to |-)\\d+)*(?:, (?:and \\d+ more ranges|\\.\\.\\.))?",
    "name": "[\\w.-]+(?: [\\w.-]+)?(?: \\([^()]*\\))?",
    "size": "\\d+x\\d+",
    "bytes": "\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)? (?:(?:[KMGT]i?)?B|bytes)",
    "hash": "[0-9a-f]{64}",
    "time": "\\d+ (?:s|min|h)(?: \\d+ (?:s|min))?",
};
const PLACE = /\{\d(?::(\w+))?\}/g;
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
        const parts = found.slice(1).map(part => listed(part, "; ", "；") ?? listed(part, ", ", "，") ?? listed(part, " and ", "、") ?? some(part));
        return words.replace(/\{(\d)\}/g, (_, at) => parts[at]);
    }
    return null;
}

// A list whose parts are known, every one.
function listed(text, mark, joint) {
    const list = text.split(mark), known = list.map(each => say(each));
    return list.length > 1 && known.every((each, at) => each !== list[at]) ? known.join(joint) : null;
}

function some(text) {
    return say(text) === text ? text.split("; ").map(each => say(each)).join("；") : say(text);
}

function own(key) {
    return key.replace(PLACE, "").length;
}

function pattern(key) {
    const escaped = key.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
    const holes = escaped.replace(PLACE, (_, kind) => `(${KINDS[kind ?? "text"]})`);
    return new RegExp(`^${holes}$`, "si"); // a report begins a sentence with a capital
}
