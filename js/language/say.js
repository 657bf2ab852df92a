// What is shown, in the language of the interface. Reports and errors that the server sends stay English.
import { app } from "../../../scripts/app.js";
import { SENTENCES, WORDS, phases } from "./zh.js";

const PHASES = phases(say);
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
        const parts = found.slice(1).map(part => say(part) === part ? part.split("; ").map(each => say(each)).join("；")
            : say(part));
        return words.replace(/\{(\d)\}/g, (_, at) => parts[at]);
    }
    return null;
}

function own(key) {
    return key.replace(/\{\d\}/g, "").length;
}

function pattern(key) {
    const escaped = key.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
    return new RegExp(`^${escaped.replace(/\{\d\}/g, "(.+?)")}$`, "s");
}
