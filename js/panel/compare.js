// The driving video and the clip, side by side or one wiped over the other, frame by frame in step.
import { button, element, fileUrl, namedFile } from "./dom.js";
import { say } from "../language/say.js";

const MODES = [["side", "Side", "driver and clip side by side"], ["wipe", "Wipe", "the clip wiped over the driver"],
    ["only", "Clip", "the clip alone"]];

export class Compare {
    constructor() {
        this.driver = video();
        this.result = video();
        this.handle = element("div", { className: "handle", tabIndex: 0 });
        this.handle.setAttribute("role", "slider");
        this.handle.setAttribute("aria-label", say("how far the clip is wiped over the driver"));
        this.cut = element("div", { className: "cut" }, this.driver);
        this.view = element("div", { className: "view" },
            figure("driver", say("driver"), this.cut), figure("result", say("clip"), this.result), this.handle);
        this.play = button("▶", say("play or pause"), () => this.toggle());
        this.sound = button("♪", say("sound on or off"), () => this.#sound());
        this.slider = element("input", { type: "range", min: 0, max: 1, value: 0, step: 1 });
        this.slider.setAttribute("aria-label", say("frame"));
        this.slider.oninput = () => this.seek(Number(this.slider.value));
        this.frame = element("span", { className: "frame" });
        this.modes = MODES.map(([mode, name, title]) => button(say(name), say(title), () => this.show(mode)));
        this.element = element("div", { className: "compare" }, this.view,
            element("div", { className: "controls" }, this.play, this.slider, this.frame, this.sound, ...this.modes));
        this.#wiping();
        this.result.addEventListener("play", () => this.#run());
        this.result.addEventListener("pause", () => this.#stopped());
        this.result.addEventListener("seeked", () => this.#inStep(true));
        this.result.addEventListener("loadedmetadata", () => this.seek(0));
        this.driver.addEventListener("error", () => this.#withoutDriver());
        this.driver.addEventListener("loadedmetadata", () => this.#inStep(true)); // which may come after the clip's seek
        new ResizeObserver(() => this.place()).observe(this.view);
    }

    // clip: {file, first, frames, fps}; driver: {file, start, fps, window} or null
    load(clip, driver) {
        this.clip = clip;
        this.driven = driver;
        this.slider.max = Math.max(clip.frames - 1, 0);
        const url = fileUrl(clip.file);
        if (this.result.dataset.url !== url) {
            this.result.dataset.url = url;
            this.result.src = url;
        }
        const source = driver ? fileUrl(namedFile(driver.file)) : "";
        if (this.driver.dataset.url !== source) {
            this.driver.dataset.url = source;
            if (source) this.driver.src = source;
            else this.driver.removeAttribute("src");
        }
        this.modes[0].hidden = !driver;
        this.show(driver ? this.mode ?? "side" : "only");
    }

    show(mode) {
        if (this.driven) this.mode = mode;
        this.modes[1].hidden = !this.driven || (!!this.driven.window && !this.#window());
        if (mode === "wipe" && this.modes[1].hidden) mode = this.driven ? "side" : "only";
        this.view.className = `view ${mode}`;
        MODES.forEach(([name], at) => this.modes[at].setAttribute("aria-pressed", name === mode));
        this.#cutOut(this.#window());
    }

    // Of a clip that shows a window of its driver: the driver's window lies where the clip lies.
    place() {
        if (!this.driven?.window) return;
        const window = this.#window();
        if (this.modes[1].hidden !== !window) this.show(this.mode ?? "side");
        else this.#cutOut(window);
    }

    // [left, top, width, height] of the window in shares of the driver's frame; null where it is not known, or is of
    // frames of another shape.
    #window() {
        const told = this.driven?.window?.(), video = this.driver;
        if (!told || !video.videoWidth || !this.clip) return null;
        const [width, height] = told.of;
        if (Math.abs((width * video.videoHeight) / (height * video.videoWidth) - 1) > 0.02) return null;
        const at = this.clip.first + this.at;
        let first = 0, stop = told.places.length; // the last that begins at this frame or before
        while (stop - first > 1) {
            const middle = (first + stop) >> 1;
            if (told.places[middle][0] <= at) first = middle;
            else stop = middle;
        }
        const [, left, top, wide, high] = told.places[first];
        return [left / width, top / height, wide / width, high / height];
    }

    #cutOut(window) {
        this.cut.classList.toggle("placed", !!window);
        if (!window) {
            this.cut.removeAttribute("style");
            this.driver.removeAttribute("style");
            return;
        }
        const { clientWidth, clientHeight } = this.cut.parentElement;
        const { videoWidth = 1, videoHeight = 1 } = this.result;
        const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
        const width = videoWidth * scale, height = videoHeight * scale, [left, top, wide, high] = window;
        setPlace(this.cut, (clientWidth - width) / 2, (clientHeight - height) / 2, width, height);
        setPlace(this.driver, (-left * width) / wide, (-top * height) / high, width / wide, height / high);
    }

    toggle() {
        if (this.result.paused) this.result.play().catch(() => {});
        else this.result.pause();
    }

    pause() {
        this.result.pause();
    }

    // A frame of the clip's file, from 0; half a frame later, so that no rounding shows the one before.
    seek(frame) {
        this.result.currentTime = (Math.min(Math.max(frame, 0), this.clip.frames - 1) + 0.5) / this.clip.fps;
        this.#tell(frame);
    }

    get at() {
        return Math.min(Math.floor(this.result.currentTime * this.clip.fps + 1e-6), this.clip.frames - 1);
    }

    #driverTime() {
        const { start, fps } = this.driven, rate = fps || this.clip.fps;
        return (start + this.clip.first + this.result.currentTime * this.clip.fps) / rate;
    }

    #inStep(exact) {
        if (!this.clip) return;
        this.#tell(this.at);
        this.place();
        if (!this.driven || this.driver.readyState < 1) return;
        const wanted = Math.min(this.#driverTime(), this.driver.duration || Infinity);
        if (Math.abs(this.driver.currentTime - wanted) > (exact ? 1e-3 : 0.08)) this.driver.currentTime = wanted;
    }

    #run() {
        this.play.textContent = "⏸";
        if (this.driven) {
            this.driver.playbackRate = Math.min(Math.max(this.clip.fps / (this.driven.fps || this.clip.fps), 0.1), 10);
            this.#inStep(true);
            this.driver.play().catch(() => {});
        }
        const step = () => {
            if (this.result.paused) return;
            this.#inStep(false);
            requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
    }

    #stopped() {
        this.play.textContent = "▶";
        this.driver.pause();
        this.#inStep(true);
    }

    #tell(frame) {
        this.slider.value = frame;
        this.frame.textContent = `${frame + this.clip.first}`;
    }

    #sound() {
        this.result.muted = !this.result.muted;
        this.sound.setAttribute("aria-pressed", !this.result.muted);
    }

    #withoutDriver() {
        if (!this.driver.getAttribute("src")) return;
        this.driven = null;
        this.modes[0].hidden = this.modes[1].hidden = true;
        this.show("only");
    }

    #wiping() {
        const to = share => {
            this.wiped = Math.min(Math.max(share, 0), 1);
            this.view.style.setProperty("--at", `${100 * this.wiped}%`);
            this.handle.setAttribute("aria-valuenow", Math.round(100 * this.wiped));
        };
        to(0.5);
        this.handle.onpointerdown = event => {
            if (event.button !== 0) return;
            event.stopPropagation();
            this.handle.setPointerCapture(event.pointerId);
            this.handle.onpointermove = moved => {
                const box = this.view.getBoundingClientRect();
                to((moved.clientX - box.left) / box.width);
            };
        };
        this.handle.onpointerup = this.handle.onpointercancel = () => { this.handle.onpointermove = null; };
        this.handle.onkeydown = event => {
            const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
            if (step === undefined) return;
            event.preventDefault();
            event.stopPropagation();
            to(this.wiped + step);
        };
    }
}

function setPlace(made, left, top, width, height) {
    const place = { inset: "auto", left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
    for (const [name, content] of Object.entries(place)) made.style.setProperty(name, content);
}

function video() {
    return element("video", { muted: true, loop: true, playsInline: true, preload: "auto" });
}

function figure(kind, name, content) {
    return element("figure", { className: kind }, content, element("figcaption", { textContent: name }));
}
