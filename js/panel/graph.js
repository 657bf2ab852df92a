// Where nodes are in the graph: execution ids, what lies above them, and which driving video they are made from.
import { app } from "../../../scripts/app.js";

export function root() {
    return app.rootGraph ?? app.graph;
}

// "5:12" is node 12 in the subgraph of node 5.
export function executionId(node) {
    const path = pathTo(root(), node.graph);
    return path === null ? null : [...path, node.id].join(":");
}

function pathTo(graph, wanted) {
    if (graph === wanted) return [];
    for (const node of graph?.nodes ?? []) {
        if (!node.subgraph) continue;
        const below = pathTo(node.subgraph, wanted);
        if (below) return [node.id, ...below];
    }
    return null;
}

export function nodeOf(id) {
    let graph = root(), node = null;
    for (const part of String(id).split(":")) {
        node = graph?.getNodeById?.(part) ?? graph?.getNodeById?.(Number(part)) ?? null;
        graph = node?.subgraph;
    }
    return node;
}

function origin(node, slot) {
    const link = node.inputs?.[slot]?.link;
    if (link == null) return null;
    const found = node.graph?.links?.get?.(link) ?? node.graph?.links?.[link];
    return found ? node.graph.getNodeById(found.origin_id) : null;
}

export function linked(node, name) {
    return origin(node, node.inputs?.findIndex(input => input.name === name) ?? -1);
}

// All nodes of the same graph that a node's inputs come from.
export function above(node) {
    const found = new Set(), pending = [node];
    while (pending.length) {
        const next = pending.pop();
        for (let slot = 0; slot < (next.inputs?.length ?? 0); slot++) {
            const from = origin(next, slot);
            if (from && !found.has(from)) {
                found.add(from);
                pending.push(from);
            }
        }
    }
    return found;
}

export function value(node, name) {
    return node?.widgets?.find(widget => widget.name === name)?.value;
}

// {file, start, fps, window()}: the driving video of a clip, as its loader is set now; null where no loader is known.
// Of a clip in the window of Crop to Character, `window` gives what that node told of it in its last run; else null.
export function driverOf(node, input) {
    const first = linked(node, input);
    if (!first) return null;
    const nodes = [first, ...above(first)];
    const load = nodes.find(each => each.type === "WanAnimateKitLoadVideo");
    const from = load ? linked(load, "video") ?? load : nodes.find(each => each.type === "LoadVideo");
    const file = value(from, "file");
    if (!file) return null;
    const crop = node.type !== "WanAnimateKitStitchCharacter"
        && nodes.find(each => each.type === "WanAnimateKitCropToCharacter");
    const window = crop ? () => crop.wanAnimateKitWindow ?? null : null;
    return { file, start: Number(value(load, "start") ?? 0), fps: Number(value(load, "fps") ?? 0), window };
}

// A place below a node where nothing lies, for a node of this size.
export function freePlace(node, size) {
    const title = 30, gap = 40;
    const boxes = node.graph.nodes.map(each => each.boundingRect ?? [...each.pos, ...each.size]);
    let [x, y] = [node.pos[0], node.pos[1] + node.size[1] + gap + title];
    const hits = () => boxes.find(([left, top, width, height]) =>
        x < left + width + gap && left < x + size[0] + gap && y - title < top + height + gap && top < y + size[1] + gap);
    for (let tries = 0, box = hits(); box && tries < 500; tries++, box = hits()) y = box[1] + box[3] + gap + title;
    return [x, y];
}
