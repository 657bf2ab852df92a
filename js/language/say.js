// What is shown, in the language of the interface. Sentences of warnings and errors that the server sends stay English.
import { app } from "../../../scripts/app.js";
import { WORDS, phases } from "./zh.js";

const PHASES = phases(say);

function chinese() {
    return app.extensionManager?.setting?.get?.("Comfy.Locale") === "zh";
}

// `text` is a key of the language's table; {0}, {1}, ... in it are replaced by `values`, which are said already.
export function say(text, ...values) {
    if (!text) return text;
    const words = chinese() ? (WORDS[text] ?? phase(text)) : text;
    return values.length ? words.replace(/\{(\d)\}/g, (_, at) => values[at]) : words;
}

function phase(text) {
    for (const [pattern, made] of PHASES) {
        const found = pattern.exec(text);
        if (found) return made(...found.slice(1));
    }
    return text;
}
