// Frames and keypoints from the server, a few kept.
import { api } from "../../../scripts/api.js";
import { say } from "../language/say.js";

const ROUTE = "/wan_animate_kit";
const PICTURES = 48, PIECES = 64, PIECE = 256; // PIECE: nodes/host/views.py AT_ONCE

async function fetched(path) {
    const answer = await api.fetchApi(`${ROUTE}${path}`);
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error ?? say("the server answered {0}", answer.status));
}

// What Load Driving Video will give with its current widgets.
export async function clipOfFile(settings) {
    return new Clip(await (await fetched(`/clip?${new URLSearchParams(settings)}`)).json());
}

export class Clip {
    constructor(told) {
        Object.assign(this, told); // view, frames, fps, width, height, layers, tracks and what the node adds
        this.pictures = new Map();
        this.pieces = new Map();
    }

    has(layer) {
        return this.layers.includes(layer);
    }

    picture(layer, frame, side) {
        if (layer === "reference") frame = 0;
        const path = `/view/${this.view}/picture/${layer}/${frame}?side=${side}`;
        return kept(this.pictures, path, PICTURES, async () => createImageBitmap(await (await fetched(path)).blob()));
    }

    // One frame's numbers of a track, Float32Array.
    async numbers(track, frame) {
        const first = frame - (frame % PIECE);
        const path = `/view/${this.view}/track/${track}/${first}`;
        const load = async () => new Float32Array(await (await fetched(path)).arrayBuffer());
        const all = await kept(this.pieces, path, PIECES, load);
        const size = this.tracks[track].reduce((a, b) => a * b, 1);
        return all.subarray((frame - first) * size, (frame - first + 1) * size);
    }
}

function kept(cache, key, most, load) {
    let found = cache.get(key);
    if (found) cache.delete(key);
    else {
        found = load();
        found.catch(() => cache.delete(key));
    }
    cache.set(key, found);
    while (cache.size > most) cache.delete(cache.keys().next().value);
    return found;
}
