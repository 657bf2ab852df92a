// Points and boxes by frame, as pure functions: {frame: {points: [{x, y, label}], box: [x1, y1, x2, y2] | null}}.
// As text what Segment Character's `prompts` reads.
import { say } from "../language/say.js";

const EMPTY = { points: [], box: null };

const round = value => Math.round(value * 10) / 10;

export function parse(text, width, height) {
    const state = {};
    if (!text?.trim()) return state;
    for (const entry of JSON.parse(text)) {
        const [across, down] = entry.size ? [width / entry.size[0], height / entry.size[1]] : [1, 1];
        const at = point => (Array.isArray(point) ? { x: point[0], y: point[1] } : point);
        const own = (points, label) =>
            (points ?? []).map(at).map(({ x, y }) => ({ x: x * across, y: y * down, label }));
        const before = state[entry.frame] ?? EMPTY;
        state[entry.frame] = {
            points: [...before.points, ...own(entry.positive, 1), ...own(entry.negative, 0)],
            box: entry.box ? entry.box.map((side, i) => side * (i % 2 ? down : across)) : before.box,
        };
    }
    return state;
}

export function format(state, width, height) {
    const entries = frames(state).map(frame => {
        const { points, box } = state[frame];
        const of = label => points.filter(p => p.label === label).map(({ x, y }) => ({ x: round(x), y: round(y) }));
        const entry = { frame, positive: of(1), negative: of(0) };
        if (box) entry.box = box.map(round);
        return { ...entry, size: [width, height] };
    });
    return entries.length ? JSON.stringify(entries) : "";
}

export const at = (state, frame) => state[frame] ?? EMPTY;

export const frames = state => Object.keys(state).map(Number).sort((a, b) => a - b);

function replaced(state, frame, value) {
    const next = { ...state };
    if (value.points.length || value.box) next[frame] = value;
    else delete next[frame];
    return next;
}

export function add(state, frame, point) {
    const { points, box } = at(state, frame);
    return replaced(state, frame, { points: [...points, point], box });
}

export function move(state, frame, index, x, y) {
    const { points, box } = at(state, frame);
    return replaced(state, frame, { points: points.map((p, i) => (i === index ? { ...p, x, y } : p)), box });
}

export function remove(state, frame, index) {
    const { points, box } = at(state, frame);
    return replaced(state, frame, { points: points.filter((_, i) => i !== index), box });
}

// Corners in any order; null takes the box away.
export function setBox(state, frame, box) {
    if (box) {
        const [a, b, c, d] = box;
        box = [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
    }
    return replaced(state, frame, { points: at(state, frame).points, box });
}

export function clear(state, frame) {
    return replaced(state, frame, EMPTY);
}

export function summary(text) {
    let entries;
    try {
        entries = text?.trim() ? JSON.parse(text) : [];
    } catch {
        return say("not readable");
    }
    const points = entries.reduce((n, e) => n + (e.positive?.length ?? 0) + (e.negative?.length ?? 0), 0);
    const boxes = entries.filter(e => e.box).length;
    if (!points && !boxes) return say("none");
    const said = [];
    if (points) said.push(points === 1 ? say("{0} point", points) : say("{0} points", points));
    if (boxes) said.push(boxes === 1 ? say("{0} box", boxes) : say("{0} boxes", boxes));
    const all = said.length === 2 ? say("{0}, {1}", ...said) : said[0];
    return entries.length === 1 ? say("{0} on {1} frame", all, 1) : say("{0} on {1} frames", all, entries.length);
}
