// What the server says of running jobs, kept by graph and node: a page with several graphs shows each its own.
import { api } from "../../../scripts/api.js";
import { root } from "./graph.js";

const records = new Map();
const graphOf = new Map(); // of prompts
const watchers = new Set();
export const running = { prompt: null, nodes: new Map() }; // nodes by execution id: since when

// The job that was asked for here and has not begun: since when, and whether the server has it.
let asked = null;

export function queuedFor() {
    if (!asked || asked.graph !== root()?.id || runsHere()) return null;
    const seconds = (Date.now() - asked.at) / 1000;
    return asked.taken || seconds < 10 ? seconds : null;
}

export function watch(callback) {
    watchers.add(callback);
    return () => watchers.delete(callback);
}

function tell() {
    for (const callback of watchers) callback();
}

function key(graph, node) {
    return `${graph ?? ""}|${node}`;
}

// What is known of a node of the graph that is open.
export function recordOf(id) {
    return id === null ? null : records.get(key(root()?.id, id)) ?? records.get(key(null, id)) ?? null;
}

// Whether the job that runs was queued from the graph that is open.
export function runsHere() {
    if (!running.prompt) return false;
    const graph = graphOf.get(running.prompt);
    return graph === undefined || graph === root()?.id;
}

function take(message, now = Date.now()) {
    const at = key(message.workflow, message.node);
    let record = records.get(at);
    if (record?.prompt !== message.prompt_id) {
        record = { prompt: message.prompt_id, node: message.node, ends: {}, live: null, outcome: "running" };
        records.set(at, record);
    }
    record.at = now;
    for (const [name, content] of Object.entries(message)) {
        if (name.startsWith("ends_")) record.ends[name.slice(5)] = content;
        else if (["text", "left", "plan", "state", "warnings"].includes(name)) record[name] = content;
        else if (name === "live") shine(record, content);
    }
    return record;
}

function shine(record, url) {
    if (record.live?.startsWith("blob:")) URL.revokeObjectURL(record.live);
    record.live = url;
}

// The host's new renderer would make a node larger for its live preview: there the panel shows it. Where no node is
// seen (the app view), the host's is the only one.
let draws = false;

function askPreviews() {
    const seen = [...document.querySelectorAll(".wan-animate-kit-panel")].some(each => each.checkVisibility());
    const now = !!globalThis.LiteGraph?.vueNodesMode && seen;
    if (now === draws) return;
    draws = now;
    const body = JSON.stringify({ client_id: api.clientId ?? api.initialClientId ?? "", draws });
    api.fetchApi("/wan_animate_kit/previews", { method: "POST", body }).catch(() => {});
}

function end(prompt, outcome) {
    for (const record of records.values()) {
        if (record.prompt === prompt && record.outcome === "running") finish(record, outcome);
    }
    if (running.prompt === prompt) {
        running.prompt = null;
        running.nodes.clear();
    }
    tell();
}

function finish(record, outcome) {
    record.outcome = outcome;
    shine(record, null);
}

function follow({ prompt_id, nodes }) {
    if (running.prompt !== prompt_id) running.nodes.clear();
    running.prompt = prompt_id;
    const now = new Set();
    for (const [id, state] of Object.entries(nodes ?? {})) {
        const node = String(state.display_node_id ?? id);
        if (state.state === "running") now.add(node);
        else for (const record of records.values()) {
            const over = ["finished", "error"].includes(state.state);
            if (over && record.prompt === prompt_id && record.node === node && record.outcome === "running")
                finish(record, state.state === "error" ? "failed" : "done");
        }
    }
    for (const node of [...running.nodes.keys()]) if (!now.has(node)) running.nodes.delete(node);
    for (const node of now) if (!running.nodes.has(node)) running.nodes.set(node, Date.now());
    tell();
}

async function fetchJson(path) {
    const answer = await api.fetchApi(path);
    return answer.ok ? answer.json() : [];
}

async function begun(prompt) {
    running.prompt = prompt;
    running.nodes.clear();
    askPreviews();
    for (const { prompt_id, workflow } of await fetchJson("/wan_animate_kit/running")) graphOf.set(prompt_id, workflow);
    if (runsHere()) asked = null;
    tell();
}

// For a page that was loaded again: what the nodes of the open graph were last doing.
export async function restore() {
    const graph = root()?.id;
    if (!graph) return;
    for (const message of await fetchJson(`/wan_animate_kit/phases?workflow=${encodeURIComponent(graph)}`)) {
        if (records.get(key(graph, message.node))?.prompt === message.prompt_id) continue;
        const record = take(message);
        if (!message.running) finish(record, "stopped");
    }
    tell();
}

export function listen() {
    api.addEventListener("wan_animate_kit.phase", ({ detail }) => {
        take(detail);
        tell();
    });
    api.addEventListener("progress_state", ({ detail }) => follow(detail));
    api.addEventListener("b_preview_with_metadata", ({ detail }) => {
        const node = String(detail.displayNodeId ?? detail.nodeId);
        for (const record of records.values()) {
            if (record.node !== node || record.outcome !== "running") continue;
            if (!globalThis.LiteGraph?.vueNodesMode) shine(record, URL.createObjectURL(detail.blob));
        }
        tell();
    });
    api.addEventListener("execution_start", ({ detail }) => begun(detail.prompt_id));
    api.addEventListener("execution_success", ({ detail }) => end(detail.prompt_id, "done"));
    api.addEventListener("execution_interrupted", ({ detail }) => end(detail.prompt_id, "stopped"));
    api.addEventListener("execution_error", ({ detail }) => end(detail.prompt_id, "failed"));
    api.addEventListener("promptQueueing", () => {
        asked = { graph: root()?.id, at: Date.now(), taken: false };
        askPreviews();
        tell();
    });
    api.addEventListener("promptQueued", () => { if (asked) asked.taken = true; });
    api.addEventListener("status", ({ detail }) => {
        const over = detail?.exec_info?.queue_remaining === 0 && asked?.taken;
        if (over && Date.now() - asked.at > 2000) asked = null;
    });
    setInterval(() => (running.prompt || asked) && tell(), 1000);
}
