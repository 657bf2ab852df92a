// The segments of a job: done, running, to do; seconds left, first and last frames; make one again, go on.
import { button, duration, element, fileUrl } from "./dom.js";
import { say } from "../language/say.js";

const CLASSES = { done: "done", running: "running", "to do": "todo", "left out": "out" };

export class Timeline {
    // acts: {choose(segment), again(segment), goOn()}
    constructor(acts) {
        this.acts = acts;
        this.chosen = null;
        this.segments = element("div", { className: "segments" });
        this.segments.setAttribute("role", "listbox");
        this.segments.setAttribute("aria-label", say("segments"));
        this.said = element("span", { className: "said" });
        this.before = element("span", { className: "half", title: say("last frame of the segment before") });
        this.after = element("span", { className: "half", title: say("first frame of this segment") });
        this.againButton = button(say("Make again"),
            say("queue this job again with another seed for this segment"), () => this.acts.again(this.chosen));
        this.goOnButton = button(say("Go on"), say("queue the job again: finished segments are not made again"),
            () => this.acts.goOn());
        this.about = element("div", { className: "about" }, this.before, this.after, this.said, this.againButton,
            this.goOnButton);
        this.element = element("div", { className: "timeline", hidden: true }, this.segments, this.about);
    }

    // job: {plan, state, ends, outcome, at} of a record or of a finished run, or null
    update(job) {
        const states = job?.state?.states;
        this.element.hidden = !states || !job.plan;
        if (this.element.hidden) return;
        if (this.chosen !== null && this.chosen >= states.length) this.chosen = null;
        while (this.segments.children.length > states.length) this.segments.lastChild.remove();
        while (this.segments.children.length < states.length) this.segments.append(this.#made());
        states.forEach((state, index) => this.#draw(job, state, index));
        this.#tell(job, states);
    }

    #made() {
        const made = element("button", { type: "button", className: "segment" },
            element("span", { className: "ends" }), element("span", { className: "name" }),
            element("span", { className: "left" }), element("span", { className: "made" }));
        made.setAttribute("role", "option");
        made.onclick = () => {
            const index = [...this.segments.children].indexOf(made);
            this.chosen = this.chosen === index ? null : index;
            this.acts.choose(this.chosen);
        };
        return made;
    }

    #draw(job, state, index) {
        const made = this.segments.children[index], [ends, name, left, bar] = made.children;
        const runs = state === "running" && job.outcome === "running";
        const shown = state === "running" && !runs ? "to do" : state;
        made.className = `segment ${CLASSES[shown]}${this.chosen === index ? " chosen" : ""}`;
        made.setAttribute("aria-selected", this.chosen === index);
        const first = job.plan.first[index], last = first + job.plan.frames[index] - 1;
        made.title = say("segment {0}: {1}, frames {2} to {3}, seed {4}", index + 1, say(shown), first, last,
            job.plan.seeds[index]);
        made.setAttribute("aria-label", made.title);
        name.textContent = index + 1;
        setBackground(ends, endsOf(job, index));
        const { step, steps, stage, left: seconds } = job.state;
        bar.style.width = runs ? `${100 * share(stage, step, steps)}%` : "0";
        left.textContent = runs && seconds > 0 ? duration(Math.max(seconds - since(job), 1)) : "";
    }

    #tell(job, states) {
        const count = states.filter(state => state === "done").length;
        const wanted = states.filter(state => state !== "left out").length;
        const open = job.outcome !== "running" && count < states.length && states.some(state => state !== "done");
        const stopped = job.outcome !== "running" && states.some(state => ["running", "to do"].includes(state));
        const at = this.chosen;
        this.before.hidden = this.after.hidden = at === null || !endsOf(job, at);
        if (at !== null) {
            setBackground(this.before, at > 0 ? endsOf(job, at - 1) : null, "right");
            setBackground(this.after, endsOf(job, at), "left");
            this.before.hidden ||= at === 0;
            const first = job.plan.first[at];
            this.said.textContent = say("Segment {0}: frames {1} to {2}, seed {3}", at + 1, first,
                first + job.plan.frames[at] - 1, job.plan.seeds[at]);
        } else {
            const left = job.state.total_left;
            const seconds = job.outcome === "running" && left > 0 ? say(", {0} left", duration(Math.max(left - since(job), 1))) : "";
            const kept = stopped ? say(": a run goes on from there") : "";
            const resumed = job.outcome === "running" && job.plan.resumed ? say(" ({0} from before)", job.plan.resumed) : "";
            this.said.textContent = say("{0} of {1} segments done", count, states.length) + resumed + seconds + kept;
            if (open && !stopped && wanted < states.length) this.said.textContent += say(", the others are left out");
        }
        this.againButton.hidden = at === null || states[at] !== "done" || job.outcome === "running";
        this.goOnButton.hidden = !stopped;
        const next = states.findIndex(state => state !== "done") + 1;
        this.goOnButton.textContent = count ? say("Go on from segment {0}", next) : say("Run again");
    }
}

// How much of a segment is made: what comes before and after its steps counts as one step each.
function share(stage, step, steps) {
    const passed = { encode: 0, load: 0.5, denoise: 1 + step, decode: steps + 1 }[stage] ?? steps + 1.5;
    return Math.min(passed / (steps + 2), 1);
}

function since(job) {
    return job.at ? (Date.now() - job.at) / 1000 : 0;
}

// {url, top, height}: the picture with a segment's first and last frame, alone or one of many below each other.
function endsOf(job, index) {
    if (job.ends?.[index]) return { url: job.ends[index], place: 0, count: 1 };
    const strip = job.strip;
    const place = strip ? strip.of.indexOf(index) : -1;
    return place < 0 ? null : { url: fileUrl(strip.file), place, count: strip.of.length };
}

function setBackground(made, ends, side = null) {
    const key = ends ? `${ends.url.length}|${ends.place}|${side}|${ends.url.slice(-40)}` : "";
    if (made.dataset.shown === key) return;
    made.dataset.shown = key;
    made.style.backgroundImage = ends ? `url("${ends.url}")` : "";
    if (!ends) return;
    const across = side === null ? "100%" : "200%", x = side === "right" ? "100%" : "0%";
    made.style.backgroundSize = `${across} ${100 * ends.count}%`;
    made.style.backgroundPosition = `${x} ${ends.count > 1 ? (100 * ends.place) / (ends.count - 1) : 0}%`;
}
