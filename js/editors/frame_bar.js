// The row under a stage: steps, slider, frame number, play, zoom; and the keys for them.
import { button, make } from "./dom.js";
import { say } from "../language/say.js";

export function frameBar(stage, editing = true, ...more) {
    const step = by => stage.go(stage.frame + by);
    const key = name => (editing ? name : "");
    const parts = [
        button("‹", () => step(-1), { title: say("one frame back"), key: key(","), name: "back" }),
        button("›", () => step(1), { title: say("one frame on"), key: key("."), name: "on" }),
        stage.track,
        stage.number,
        make("span", { className: "said", textContent: say("of {0}", stage.clip.frames - 1) }),
        button(say("Play"), () => stage.play(), { title: say("plays the clip"), key: key(say("Space")), name: "play" }),
    ];
    if (editing) {
        parts.push(
            button("−", () => stage.zoomBy(1 / 1.4), { title: say("zoom out, also with the wheel"), name: "smaller" }),
            button("+", () => stage.zoomBy(1.4), { title: say("zoom in, also with the wheel"), name: "larger" }),
        );
    }
    return make("div", { className: "bar" }, ...parts, ...more);
}

// Steps to the next or the last of some frames.
export function jump(stage, frames, forward) {
    const found = forward ? frames.find(f => f > stage.frame) : [...frames].reverse().find(f => f < stage.frame);
    if (found !== undefined) stage.go(found);
}

// Calls the action of a key, such as "k", "Shift+ArrowUp" or "Ctrl+z"; true if there was one.
export function pressed(event, actions) {
    const control = (event.ctrlKey || event.metaKey) && !event.altKey; // AltGr is both
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const plain = `${control ? "Ctrl+" : ""}${letter}`;
    const shifted = `${control ? "Ctrl+" : ""}Shift+${letter}`;
    // on some keyboards signs are typed with Shift
    const act = event.shiftKey ? (actions[shifted] ?? (/[a-z]/.test(letter) ? undefined : actions[plain])) : actions[plain];
    if (!act) return false;
    act(event);
    event.preventDefault();
    event.stopPropagation();
    return true;
}
