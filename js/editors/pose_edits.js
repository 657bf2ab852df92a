// Edits of a pose, as pure functions over {keys: {joint: {frame: [right, down]}}, hidden: {joint: [[first, stop]]}}.
// The same rules as wan_animate/pose/edits.py, which applies them.
const COUNT = 133;
const NONE = { keys: {}, hidden: {} };

const round = value => Math.round(value * 100) / 100;

export function parse(text, clip) {
    if (!text?.trim()) return NONE;
    const given = JSON.parse(text);
    const across = given.width ? clip.width / given.width : 1;
    const down = given.height ? clip.height / given.height : 1;
    const rate = given.fps ? clip.fps / given.fps : 1;
    const ahead = given.start == null || clip.start == null ? 0 : (given.start - clip.start) * clip.fps;
    const when = frame => Math.floor(frame * rate + ahead + 0.5);
    const keys = {}, hidden = {};
    for (const [joint, keyed] of Object.entries(given.keys ?? {})) {
        keys[joint] = {};
        const inOrder = [...keyed].sort((a, b) => a[0] - b[0]);
        for (const [frame, x, y] of inOrder) keys[joint][when(frame)] = [x * across, y * down];
    }
    for (const [joint, ranges] of Object.entries(given.hidden ?? {}))
        hidden[joint] = ranges.map(([first, stop]) => [when(first), Math.max(when(stop), when(first) + 1)]);
    return { keys, hidden };
}

export function format(edits, clip) {
    const keys = {}, { hidden } = edits;
    for (const [joint, keyed] of Object.entries(edits.keys))
        keys[joint] = Object.entries(keyed)
            .map(([frame, [x, y]]) => [Number(frame), round(x), round(y)])
            .sort((a, b) => a[0] - b[0]);
    if (!Object.keys(keys).length && !Object.keys(hidden).length) return "";
    const start = clip.start == null ? {} : { start: clip.start };
    return JSON.stringify({ width: clip.width, height: clip.height, fps: clip.fps, ...start, keys, hidden });
}

// The shot around a frame, [first, stop].
export function shot(clip, frame) {
    let first = 0, stop = clip.frames;
    for (const cut of clip.cuts ?? []) {
        if (cut <= frame) first = cut;
        else {
            stop = cut;
            break;
        }
    }
    return [first, stop];
}

// {x, y, held}: a keypoint's offset at a frame, and whether it lies between keys.
export function offset(edits, clip, joint, frame, fade) {
    const keyed = edits.keys[joint];
    if (!keyed) return null;
    const [first, stop] = shot(clip, frame);
    const at = Object.keys(keyed).map(Number).filter(one => one >= first && one < stop).sort((a, b) => a - b);
    if (!at.length) return null;
    const last = at[at.length - 1];
    if (frame < at[0] - fade || frame > last + fade) return null;
    const knots = [at[0] - fade - 1, ...at, last + fade + 1];
    const values = [[0, 0], ...at.map(one => keyed[one]), [0, 0]];
    const after = knots.findIndex(knot => knot >= frame);
    const held = frame >= at[0] && frame <= last;
    if (knots[after] === frame) return { x: values[after][0], y: values[after][1], held };
    const share = (frame - knots[after - 1]) / (knots[after] - knots[after - 1]);
    const between = axis => values[after - 1][axis] + (values[after][axis] - values[after - 1][axis]) * share;
    return { x: between(0), y: between(1), held };
}

export const isHidden = (edits, joint, frame) =>
    (edits.hidden[joint] ?? []).some(([first, stop]) => frame >= first && frame < stop);

// What Edit Pose makes of one frame: float32 [133 * 3].
export function edited(base, edits, clip, frame, fade) {
    const out = Float32Array.from(base);
    for (const joint of Object.keys(edits.keys)) {
        const by = offset(edits, clip, joint, frame, fade);
        if (!by) continue;
        out[3 * joint] += by.x;
        out[3 * joint + 1] += by.y;
        if (by.held) out[3 * joint + 2] = 1;
    }
    for (let joint = 0; joint < COUNT; joint++) if (isHidden(edits, joint, frame)) out[3 * joint + 2] = 0;
    return out;
}

export function setKeys(edits, frame, offsets) {
    const keys = { ...edits.keys };
    for (const [joint, by] of Object.entries(offsets)) keys[joint] = { ...keys[joint], [frame]: by };
    return { ...edits, keys };
}

export function removeKeys(edits, frame, joints) {
    const keys = { ...edits.keys };
    for (const joint of joints) {
        if (!keys[joint]) continue;
        const { [frame]: _gone, ...rest } = keys[joint];
        if (Object.keys(rest).length) keys[joint] = rest;
        else delete keys[joint];
    }
    return { ...edits, keys };
}

// Hides keypoints in [first, stop), or shows them there.
export function setHidden(edits, joints, first, stop, hide) {
    const hidden = { ...edits.hidden };
    for (const joint of joints) {
        const rest = [];
        for (const [a, b] of hidden[joint] ?? []) {
            if (a < first) rest.push([a, Math.min(b, first)]);
            if (b > stop) rest.push([Math.max(a, stop), b]);
        }
        if (hide) rest.push([first, stop]);
        rest.sort((a, b) => a[0] - b[0]);
        const joined = [];
        for (const range of rest) {
            const before = joined[joined.length - 1];
            if (before && before[1] === range[0]) before[1] = range[1];
            else joined.push([...range]);
        }
        if (joined.length) hidden[joint] = joined;
        else delete hidden[joint];
    }
    return { ...edits, hidden };
}

// Frames with a key, of some keypoints or of all.
export function keyFrames(edits, joints = Object.keys(edits.keys)) {
    const found = new Set();
    for (const joint of joints) for (const frame of Object.keys(edits.keys[joint] ?? {})) found.add(Number(frame));
    return [...found].sort((a, b) => a - b);
}
