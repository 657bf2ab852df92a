// The panel below a node: what it is doing, warnings, segments, and what it made, within the node's own size.
import { Compare } from "./compare.js";
import { button, duration, element, fileUrl, passOn } from "./dom.js";
import { queuedFor, recordOf, runsHere, running } from "./events.js";
import { above, driverOf, executionId, nodeOf } from "./graph.js";
import { STYLE } from "./style.js";
import { Timeline } from "./timeline.js";
import { goOn, makeAgain } from "./again.js";
import { say, sayLines } from "../language/say.js";

const SILENT = 3; // seconds after which it is shown for how long nothing new was said
const TABS = { // name, title
    compare: ["Compare", "show compare"], pictures: ["Pictures", "show pictures"], words: ["Text", "show text"],
};

export class Panel {
    // kind: {hint, pose: the input that the driver is found above, timeline}
    constructor(node, kind) {
        this.node = node;
        this.kind = kind;
        this.host = element("div", { className: "wan-animate-kit-panel" });
        const inside = this.host.attachShadow({ mode: "open" });
        this.statusText = element("span", { className: "text" });
        this.status = element("div", { className: "status", hidden: true },
            element("span", { className: "dot" }), this.statusText);
        this.status.setAttribute("role", "status");
        this.warnings = element("div", { className: "warnings", hidden: true });
        this.warnings.setAttribute("role", "alert");
        this.timeline = new Timeline({
            choose: segment => this.#choose(segment),
            again: segment => this.#again(segment),
            goOn: () => goOn(this.node, this.#job()),
        });
        this.tabs = element("div", { className: "tabs", hidden: true });
        this.pictures = element("div", { className: "pictures", hidden: true });
        this.words = element("pre", { className: "words", hidden: true, tabIndex: 0 });
        this.live = element("img", { className: "live", hidden: true, alt: say("what is being made") });
        this.hint = element("div", { className: "hint", textContent: say(kind.hint) });
        this.compare = null;
        this.stage = element("div", { className: "stage" }, this.tabs, this.pictures, this.words, this.live, this.hint);
        inside.append(element("style", { textContent: STYLE }), element("div", { className: "panel" },
            this.status, this.warnings, this.timeline.element, this.stage));
        passOn(this.host);
    }

    // What a run gave: `ui` of the node's output.
    show(output) {
        const own = output?.wan_animate_kit?.[0] ?? {};
        this.output = output;
        this.node.wanAnimateKitWindow = own.window ?? null;
        this.made = own.timeline && { plan: own.timeline, state: own.timeline.state, strip: own.timeline.ends, ends: {},
            outcome: "done" };
        this.#warn(own.warnings ?? []);
        this.#picture(output?.images ?? []);
        const warned = new Set(own.warnings ?? []);
        const text = (output?.text ?? []).join("\n").split("\n").filter(line => !warned.has(line)).join("\n");
        this.words.textContent = this.kind.words === false ? "" : sayLines(text);
        this.#clip(own.clip);
        this.#choices();
        this.update();
    }

    #clip(clip) {
        if (!clip) {
            this.compare?.pause();
            this.compare?.element.remove();
            this.compare = null;
            return;
        }
        if (!this.compare) {
            this.compare = new Compare();
            this.stage.insertBefore(this.compare.element, this.pictures);
        }
        this.compare.load(clip, driverOf(this.node, this.kind.driver));
    }

    #warn(sentences) {
        if (sentences.join("\n") === this.warned) return;
        this.warned = sentences.join("\n");
        this.warnings.hidden = !sentences.length;
        this.warnings.replaceChildren(...sentences.map(each => element("p", { textContent: `⚠ ${sayLines(each)}` })));
    }

    #picture(images) {
        const urls = images.map(fileUrl);
        if (urls.join() === this.urls?.join()) return;
        this.urls = urls;
        const made = urls.map((url, at) => {
            const picture = element("img", { src: url, alt: say("picture {0}", at + 1), draggable: false });
            picture.onclick = () => {
                const one = this.pictures.classList.contains("one");
                picture.classList.toggle("chosen", !one);
                this.pictures.classList.toggle("one", !one);
            };
            return picture;
        });
        this.pictures.className = `pictures${urls.length === 2 ? " two" : ""}`;
        this.pictures.replaceChildren(...made);
        this.node.imgs = made; // for the menu of the node: open, copy, save
        this.node.imageIndex = made.length === 1 ? 0 : null;
    }

    #choices() {
        const there = { compare: !!this.compare, pictures: !!this.urls?.length, words: !!this.words.textContent };
        const names = Object.keys(TABS).filter(name => there[name]);
        if (!there[this.tab]) this.tab = names[0] ?? null;
        this.tabs.hidden = names.length < 2;
        this.tabs.replaceChildren(...names.map(name => {
            const made = button(...TABS[name].map(text => say(text)), () => {
                this.tab = name;
                this.#choices();
                this.update();
            });
            made.setAttribute("aria-selected", name === this.tab);
            return made;
        }));
    }

    // The job that the segments are of: the one that runs, was stopped, or is finished.
    #job() {
        const record = recordOf(executionId(this.node));
        if (!record?.plan) return this.made ?? null;
        return record.outcome === "done" && this.made ? { ...this.made, ends: record.ends } : record;
    }

    update() {
        const id = executionId(this.node), record = recordOf(id);
        const busy = record?.outcome === "running" && record.prompt === running.prompt;
        const words = busy ? said(record, this.kind.timeline && !!record.plan) : this.#waiting(id, record);
        if (busy && record.warnings) this.#warn(record.warnings);
        this.status.hidden = !words && !this.problem;
        this.status.classList.toggle("waiting", !busy);
        this.statusText.textContent = this.statusText.title = words || this.problem || "";
        if (this.kind.timeline) this.timeline.update(this.#job());
        const live = busy ? record.live : null;
        this.live.hidden = !live;
        if (live && this.live.src !== live) this.live.src = live;
        const shown = live ? null : this.tab;
        if (this.compare) {
            this.compare.element.hidden = shown !== "compare";
            this.compare.place();
        }
        this.pictures.hidden = shown !== "pictures";
        this.words.hidden = shown !== "words";
        this.hint.hidden = !!(shown || live || words || !this.timeline.element.hidden);
        // the new renderer's nodes are as high as what they hold, the old one's are told
        this.host.style.minHeight = globalThis.LiteGraph?.vueNodesMode ? `${this.kind.least}px` : "";
    }

    #waiting(id, record) {
        const queued = queuedFor();
        if (queued !== null && this.node.mode === 0) return say("queued, {0}", duration(queued));
        if (!runsHere() || id === null || this.node.mode !== 0) return "";
        if (record?.prompt === running.prompt && record.outcome !== "running") return "";
        const path = id.slice(0, id.lastIndexOf(":") + 1), depth = path.split(":").length; // of the subgraph it is in
        const sources = [...above(this.node)].map(each => path + each.id);
        // the one begun last works: one begun before it may itself be waiting, for an input that it has just asked for
        for (const [other, since] of [...running.nodes].reverse()) {
            if (!sources.includes(other.split(":").slice(0, depth).join(":"))) continue;
            const name = nodeOf(other)?.title ?? say("node {0}", other), its = recordOf(other);
            if (its?.prompt === running.prompt && its.outcome === "running") return say("waits for {0}: {1}", name, said(its));
            return say("waits for {0}, {1}", name, duration((Date.now() - since) / 1000));
        }
        return "";
    }

    #choose(segment) {
        const job = this.#job(), clip = this.compare?.clip;
        if (segment !== null && clip) {
            this.compare.pause();
            this.compare.seek(job.plan.first[segment] - clip.first);
        }
        this.update();
    }

    async #again(segment) {
        this.problem = await makeAgain(this.node, this.#job(), segment);
        this.timeline.chosen = null;
        this.update();
    }
}

// The seconds left count down; where they are not known or over, it is said how long nothing new was heard.
function said(record, brief = false) {
    const silent = (Date.now() - record.at) / 1000, text = say(record.text);
    const left = record.left > 0 ? record.left - silent : 0;
    if (left > 1) return brief ? text : say("{0}, {1} left", text, duration(left));
    return silent < SILENT ? text : `${text} · ${duration(silent)}`;
}
