// A clip's frame on a canvas with a slider: panes side by side, each with a picture and what is drawn on it.
import { make } from "./dom.js";
import { say } from "../language/say.js";

const SIDES = [512, 1024, 1536];
const GAP = 8;

export class Stage {
    // panes: [{width, height, layer(): string | null, label}]; draw(context, pane, numbers) draws on a pane's picture.
    constructor({ clip, panes, draw, load, editable = false, changed }) {
        Object.assign(this, { clip, panes, draw, load, editable, changed });
        this.frame = 0;
        this.zoom = 1;
        this.pan = { x: 0, y: 0 };
        this.numbers = null;
        this.bitmaps = [];
        this.wanted = 0;
        this.canvas = make("canvas", { tabIndex: editable ? 0 : -1, className: editable ? "edit" : "" });
        this.view = make("div", { className: "view" }, this.canvas);
        this.slider = make("input", { type: "range", min: 0, max: clip.frames - 1, value: 0, step: 1, ariaLabel: say("frame") });
        this.number = make("input", { type: "number", min: 0, max: clip.frames - 1, value: 0, ariaLabel: say("frame number") });
        this.ticks = make("div", { className: "ticks" });
        this.said = make("span", { className: "said" });
        this.track = make("div", { className: "track" }, this.slider, this.ticks);
        this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
        this.number.addEventListener("change", () => this.go(Number(this.number.value)));
        this.observer = new ResizeObserver(() => this.paint());
        this.observer.observe(this.view);
        if (editable) this.listenForZoom();
        this.go(0);
    }

    destroy() {
        this.observer.disconnect();
        this.playing = false;
    }

    // Shows a frame; of several asked for meanwhile the last.
    async go(frame) {
        frame = Math.min(Math.max(Math.round(frame) || 0, 0), this.clip.frames - 1);
        const mine = ++this.wanted;
        this.frame = frame;
        this.slider.value = this.number.value = frame;
        if (this.busy) return;
        this.busy = true;
        try {
            const side = this.side();
            const pictures = this.panes.map(pane => {
                const layer = pane.layer();
                return layer ? this.clip.picture(layer, frame, side) : null;
            });
            const numbers = (await this.load?.(frame)) ?? null;
            this.bitmaps = await Promise.all(pictures);
            this.numbers = numbers;
            this.shown = frame;
            this.tell("");
        } catch (error) {
            if (mine === this.wanted) {
                this.tell(error.message, true);
                // without its picture a frame's keypoints can still be seen
                this.numbers = await Promise.resolve(this.load?.(frame)).catch(() => null);
                this.bitmaps = [];
                this.shown = frame;
            }
        } finally {
            this.busy = false;
        }
        if (mine !== this.wanted) return this.go(this.frame);
        this.changed?.();
        this.paint();
        this.canvas.dataset.frame = this.frame;
    }

    async play() {
        if (this.playing) return (this.playing = false);
        this.playing = true;
        while (this.playing) {
            const began = performance.now();
            await this.go(this.frame + 1 < this.clip.frames ? this.frame + 1 : 0);
            const left = 1000 / this.clip.fps - (performance.now() - began);
            await new Promise(done => setTimeout(done, Math.max(left, 1)));
        }
    }

    tell(text, bad = false) {
        this.said.textContent = text;
        this.said.classList.toggle("bad", bad);
    }

    side() {
        const wide = Math.max(this.view.clientWidth, 300) * (window.devicePixelRatio || 1) * this.zoom;
        return SIDES.find(side => side >= wide / this.panes.length) ?? SIDES[SIDES.length - 1];
    }

    // Ticks over the slider: of frames with edits, and in red of others.
    mark(frames, lost = []) {
        const last = Math.max(this.clip.frames - 1, 1);
        const ticks = (list, name) => list.filter(frame => frame >= 0 && frame <= last)
            .map(frame => make("i", { className: name, style: { left: `${(100 * frame) / last}%` } }));
        this.ticks.replaceChildren(...ticks(lost, "lost"), ...ticks(frames, ""));
    }

    // Where the panes lie, in CSS pixels of the canvas.
    layout() {
        const wide = this.canvas.clientWidth, high = this.canvas.clientHeight;
        const shape = this.panes.reduce((sum, pane) => sum + pane.width / pane.height, 0);
        const gaps = GAP * (this.panes.length - 1);
        const height = Math.min(high, (wide - gaps) / shape) * this.zoom;
        const whole = height * shape + gaps;
        let x = (wide - whole) / 2 + this.pan.x;
        const y = (high - height) / 2 + this.pan.y;
        return this.panes.map(pane => {
            const width = (height * pane.width) / pane.height;
            const box = { pane, x, y, width, height, scale: height / pane.height };
            x += width + GAP;
            return box;
        });
    }

    paint() {
        const ratio = window.devicePixelRatio || 1;
        const wide = this.canvas.clientWidth, high = this.canvas.clientHeight;
        if (!wide || !high) return;
        if (this.canvas.width !== Math.round(wide * ratio)) this.canvas.width = Math.round(wide * ratio);
        if (this.canvas.height !== Math.round(high * ratio)) this.canvas.height = Math.round(high * ratio);
        const context = this.canvas.getContext("2d");
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, wide, high);
        this.layout().forEach((box, i) => {
            context.save();
            context.beginPath();
            context.rect(box.x, box.y, box.width, box.height);
            context.fillStyle = "#000";
            context.fill();
            if (!this.editable) context.clip();
            const bitmap = this.bitmaps[i];
            if (bitmap) {
                context.globalAlpha = box.pane.dim?.() ?? 1;
                context.drawImage(bitmap, box.x, box.y, box.width, box.height);
                context.globalAlpha = 1;
            }
            this.draw(context, box, this.numbers);
            if (box.pane.label && this.panes.length > 1) {
                context.font = "12px system-ui, sans-serif";
                context.fillStyle = "rgba(0,0,0,.6)";
                context.fillRect(box.x, box.y, context.measureText(box.pane.label).width + 12, 20);
                context.fillStyle = "#eee";
                context.fillText(box.pane.label, box.x + 6, box.y + 14);
            }
            context.restore();
        });
    }

    // {box, x, y}: the pane under an event and the place in its pixels. Also where the page is scaled.
    locate(event) {
        const rectangle = this.canvas.getBoundingClientRect();
        const x = ((event.clientX - rectangle.left) * this.canvas.clientWidth) / rectangle.width;
        const y = ((event.clientY - rectangle.top) * this.canvas.clientHeight) / rectangle.height;
        const boxes = this.layout();
        const box = boxes.find(one => x >= one.x - GAP / 2 && x <= one.x + one.width + GAP / 2) ?? boxes[boxes.length - 1];
        return { box, x: (x - box.x) / box.scale, y: (y - box.y) / box.scale };
    }

    zoomBy(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
        const before = this.zoom;
        this.zoom = Math.min(Math.max(this.zoom * factor, 1), 12);
        factor = this.zoom / before;
        const middle = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 };
        this.pan.x = (this.pan.x + middle.x - x) * factor - middle.x + x;
        this.pan.y = (this.pan.y + middle.y - y) * factor - middle.y + y;
        if (this.zoom === 1) this.pan = { x: 0, y: 0 };
        this.paint();
        clearTimeout(this.sharper);
        this.sharper = setTimeout(() => this.go(this.frame), 200);
    }

    listenForZoom() {
        this.canvas.addEventListener("wheel", event => {
            event.preventDefault();
            const rectangle = this.canvas.getBoundingClientRect();
            this.zoomBy(Math.exp(-event.deltaY / 500), event.clientX - rectangle.left, event.clientY - rectangle.top);
        });
    }
}
