// Queues a job again: to go on where it stopped, or with another seed for one of its segments.
import { app } from "../../../scripts/app.js";
import { freePlace, linked, value } from "./graph.js";
import { say } from "../language/say.js";

const OPTIONS = "WanAnimateKitClipOptions";

function set(node, name, content) {
    const widget = node.widgets?.find(each => each.name === name);
    if (!widget) return false;
    widget.value = content;
    widget.callback?.(content, app.canvas, node);
    return true;
}

// The seed that the clip was made with, which stays: another one would make another clip.
function keepSeed(node, seed) {
    if (linked(node, "seed")) return;
    const widget = node.widgets?.find(each => each.name === "seed");
    if (!widget || seed === undefined) return;
    if (Number.isSafeInteger(Number(seed))) set(node, "seed", Number(seed));
    const control = widget.linkedWidgets?.find(each => each.name === "control_after_generate")
        ?? node.widgets.find(each => each.name === "control_after_generate");
    if (control) set(node, control.name, "fixed");
}

export async function goOn(node, job) {
    keepSeed(node, job?.plan?.seed);
    await app.queuePrompt(0, 1);
}

function clipOptions(node) {
    const found = linked(node, "options");
    if (found) return found.type === OPTIONS ? found : null;
    const made = globalThis.LiteGraph.createNode(OPTIONS);
    if (!made) return null;
    node.graph.add(made);
    made.pos = freePlace(node, made.size);
    set(made, "keep_rest", true);
    made.connect(0, node, node.inputs.findIndex(input => input.name === "options"));
    return made;
}

function seedsOf(text) {
    const pairs = String(text ?? "").split(/[\s,;]+/).filter(Boolean).map(pair => pair.split(":"));
    return new Map(pairs.map(([segment, seed]) => [Number(segment), seed]));
}

// Writes a seed for the segment (from 0) into Clip Options, which is made if there is none, and queues. Returns a
// sentence where it cannot.
export async function makeAgain(node, job, segment, seed = Math.floor(Math.random() * 2 ** 48)) {
    const options = clipOptions(node);
    if (!options) return say("options comes from another node than Clip Options: set the segment's seed there.");
    if (linked(options, "segment_seeds"))
        return say("segment_seeds of Clip Options is linked: set the seed where it is made.");
    const seeds = seedsOf(value(options, "segment_seeds"));
    if (!seeds.size && !linked(options, "keep_rest")) set(options, "keep_rest", true);
    seeds.set(segment + 1, String(seed));
    const text = [...seeds].sort(([a], [b]) => a - b).map(pair => pair.join(":")).join(", ");
    set(options, "segment_seeds", text);
    keepSeed(node, job?.plan?.seed);
    node.graph.setDirtyCanvas?.(true, true);
    await app.queuePrompt(0, 1);
    return null;
}
